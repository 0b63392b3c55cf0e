"""The page "Will it fit?": answers, the page itself, and the server that shows it."""

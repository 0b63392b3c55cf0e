"""The page as HTML and Markdown, with its charts."""

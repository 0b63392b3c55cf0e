"""What flags set, what their values may be, and the words for them."""

"""What readers may know of every instrument, as of the last commit."""

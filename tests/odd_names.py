"""Names of directories that programs tend to misread."""

ODD_NAMES = (
    "[x]",
    "[!a]b[",
    "back\\slash",
    "st*r",
    "**",
    "what?",
    "two  words ",
    "new\nline",
    "quo'te\"s",
    "100%",
    "a%20b",
    "#1",
    "{a,b}",
    "$HOME",
    "a:b",
    "a=b;c&d",
    "naïve-日本",
    "\x1b[31mred",
    "-leading",
    "~",
    "n" * 255,
)

ODDEST = "-[x]*? \\ '\" \n %20 # {a} $HOME : = 日本"
"""A name with most of these characters."""

"""What Kitsu knows and decides: per noun the wire shapes, and below them the rules and queries. Knows no HTTP."""

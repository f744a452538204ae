"""The rules and queries of each noun, below the Structs of the API."""

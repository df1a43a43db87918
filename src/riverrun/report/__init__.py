"""The page of a tree of runs: its facts, one self-contained HTML file, a server of it, a figure."""

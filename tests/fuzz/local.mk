# fuzz harnesses

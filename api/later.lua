-- Names that this version knows and refuses: reading is fine, calling raises.
later { "table", "http", "sql", "rate", "counter", "cache", "tlsrpt", "dkim", "arc",
  "geo", "mime", "metric", "audit" }

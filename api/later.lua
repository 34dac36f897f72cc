-- Names that this version knows and refuses: reading is fine, calling raises.
later { "tlsrpt", "dkim", "arc",
  "mime" }

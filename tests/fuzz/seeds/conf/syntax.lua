return gw.config {
  version = 1,,
}

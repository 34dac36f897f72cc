return gw.config { identity = { hostname = 'a.example' } }

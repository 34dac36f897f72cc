return gw.config { queue = { max_age = 5, [1] = 2 }, listeners = { ["\0"] = {}, a = 5 }, tables = {} }

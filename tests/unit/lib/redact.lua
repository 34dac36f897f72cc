local r = gw.redact
assert(r.luhn "4111111111111111" and not r.luhn "4111111111111112" and not r.luhn "" and not r.luhn "41x1")
assert(r.count_cards "card 4111 1111 1111 1111, and 5500-0000-0000-0004." == 2)
assert(r.count_cards("4111111111111111 x 4111111111111111", 1) == 1)
assert(r.count_cards "4111111111111112, 1234567812345670, 41111111111111111111" == 0)
assert(r.count_cards "id_4111111111111111 4111111111111111x" == 0)
assert(r.count_cards "378282246310005 30569309025904 6011111111111117 3530111333300000 4222222222222" == 0) -- one long run
assert(r.count_cards "378282246310005, 30569309025904, 6011111111111117, 3530111333300000, 4222222222222, 6212345678901265" == 6 or
    r.count_cards "378282246310005, 30569309025904, 6011111111111117, 3530111333300000, 4222222222222" == 5)
assert(r.cards "a 4111 1111 1111 1111 b" == "a ************1111 b")
assert(r.addresses "to <ann.b@x.example> and c@y" == "to <a***@x.example> and c***@y")
assert(r.ips "from 192.0.2.7 [2001:db8::1] at 12:30:45, v1.2.3" == "from [address] [[address]] at 12:30:45, v1.2.3")
assert(r.ips("10.1.2.3", "100%") == "100%")
assert(r.hosts("mx1.corp.example and www.other.example, corp.example.org", { "*.corp.example" }) ==
    "[host] and www.other.example, corp.example.org")
assert(r.hosts("corp.example notcorp.example", { "corp.example" }, "-") == "- notcorp.example")
-- Linear: a megabyte of digits, dots and words within the budget of a load.
local long = ("4111 1111 1111 1111 a.b@c.d "):rep(2000)
assert(r.count_cards(long) == 2000 and #r.addresses(long) > 0 and #r.hosts(long, { "c.d" }) > 0 and #r.ips(long) > 0)

"""DNS, a policy host and next hops for the cases of MTA-STS (RFC 8461): the unsigned zone s.example with
a domain for each name in DOMAINS, whose mail host is mx.NAME.s.example at one address, and the sender's
domain in a signed zone. TTLs are 0: what is changed counts at once."""

import atexit
import copy
import shutil
import tempfile

import tagged
from case import Lab, Zone, free_port
from lab.policyhost import PolicyHost, policy

MX, MX2, BACK, WEB = "127.0.8.2", "127.0.8.3", "127.0.8.1", "127.0.8.100"
PRIVATE = "10.213.78.1"     # somewhere in the operator's own network
DOMAINS = ["a", "other", "ok", "chunked", "wild", "partial", "wrongname", "expired", "otherca", "cnonly",
           "moved", "clear", "gone", "empty", "part", "trouble", "html", "big", "endless", "gzip", "headers", "slow", "drips",
           "broken", "plainhttp", "noweb", "private"]
SILENT = ["norecord", "sub.ok", "two", "badid"]       # nothing there is to be fetched

lab = None


def domain(name):
    return f"{name}.s.example"


def records(ids=None, extra=""):
    """`ids`: name to the id of its TXT record where it is not 1; None leaves the record out."""
    ids = ids or {}
    text = extra
    for name in DOMAINS + SILENT:
        text += f"{name} MX 10 mx.{name}\nmx.{name} A {MX}\n"
        if name != "noweb":
            text += f"mta-sts.{name} A {PRIVATE if name == 'private' else WEB}\n"
        if name in DOMAINS and ids.get(name, "1") is not None:
            text += f'_mta-sts.{name} TXT "v=STSv1; i" "d={ids.get(name, "1")};"\n'
    text += '_mta-sts.two TXT "v=STSv1; id=1"\n_mta-sts.two TXT "v=STSv1; id=2"\n_mta-sts.badid TXT "v=STSv1; id=-"\n'
    text += f"pair MX 10 mx1.pair\npair MX 20 mx2.pair\nmx1.pair A {MX}\nmx2.pair A {MX2}\n"
    text += f'mta-sts.pair A {WEB}\n_mta-sts.pair TXT "v=STSv1; id=1"\n'
    text += "shared MX 10 mx.a\n"       # the same host, and no policy
    return text


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t):
    global lab
    if lab is None:
        lab = Lab(tempfile.mkdtemp(prefix="sp-sts-"), {
            "example": Zone(), "s.example": Zone(records(), kind="unsigned", ttl=0),
            "back.example": Zone(f"@ MX 10 mx\nmx A {BACK}")}).start()
        atexit.register(stop_lab)
    else:
        lab.update("s.example", records())
    t.zones_lab = lab


def scene(t, hosts, over=None, policy_text=None, **options):
    """`hosts`: "a" (and so every domain but pair's second) and "pair2" to the options of a next hop."""
    use_lab(t)
    port = free_port([MX, MX2, BACK])
    s = tagged.Scene.__new__(tagged.Scene)
    s.web = PolicyHost(t.certs, WEB)
    t.parts.append(s.web.stop)
    s.hop = {}
    names = {"a": (MX, ["mx.a.s.example", "mx1.pair.s.example"]), "pair2": (MX2, ["mx2.pair.s.example"]),
             "back": (BACK, ["mx.back.example"])}
    for name, how in dict({"back": tagged.H5}, **hosts).items():
        how = copy.deepcopy(how)
        address, certified = names[name]
        cert = t.certs.issue(certified[0], kind=how.pop("kind", "good"), names=certified)
        s.hop[name] = t.nexthop(port=port, host=address, name=certified[0], cert=cert, **how)
    s.back = s.hop["back"]
    config = {"tls": {"sts_port": s.web.port, "sts_timeout": "8s"}, "delivery": {"idle": "0s"}}
    for key, value in (over or {}).items():
        config[key] = dict(config.get(key, {}), **value) if isinstance(value, dict) else value
    s.gw = t.gateway(hop_port=port, over=config, policy=policy_text, **options)
    return s


def publish(s, name, mode="enforce", mx=None, max_age=86400, **page):
    s.web.publish(domain(name), policy(mode, mx or [f"mx.{domain(name)}"], max_age), **page)

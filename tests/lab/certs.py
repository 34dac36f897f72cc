"""A certificate authority for tests, made with the openssl command. Keys are P-256.

    certs = Certs("/some/dir")
    good = certs.issue("mx1.example")                       # signed by certs.ca, SAN mx1.example
    certs.issue("mx1.example", kind="expired")              # see KINDS
    certs.issue("any", names=["*.example"])                 # wildcard
    good.cert, good.key     # PEM files; good.tlsa("3 1 1") is rdata for a TLSA record

Made once in a directory and found again there.
"""

import hashlib
import os
import ssl
import subprocess
import time

KINDS = {
    "good": "signed by the CA, names in subjectAltName",
    "wrong-name": "signed by the CA for elsewhere.invalid",
    "expired": "signed by the CA, over since last year",
    "future": "signed by the CA, not valid before next year",
    "self-signed": "by its own key",
    "self-expired": "by its own key, over since last year",
    "other-ca": "signed by a CA nobody trusts",
    "cn-only": "signed by the CA, the name only in the subject's common name",
    "client": "signed by the CA, for TLS clients only",
}

CA_CONF = """
[ca]
default_ca = lab
[lab]
database = {dir}/index.txt
serial = {dir}/serial
new_certs_dir = {dir}
certificate = {dir}/ca.pem
private_key = {dir}/ca.key
default_md = sha256
default_days = 365
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = optional
"""


def openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def stamp(offset_days):
    return time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + offset_days * 86400))


class Cert:
    def __init__(self, cert, key):
        self.cert, self.key = cert, key

    @property
    def der(self):
        with open(self.cert, encoding="ascii") as f:
            text = f.read()
        end = "-----END CERTIFICATE-----"
        begin = text.index("-----BEGIN CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(text[begin:text.index(end) + len(end)])

    @property
    def spki(self):
        pem = openssl("x509", "-in", self.cert, "-noout", "-pubkey")
        return openssl("pkey", "-pubin", "-outform", "DER", stdin=pem)

    @property
    def pin(self):
        return "sha256:" + hashlib.sha256(self.spki).hexdigest()

    def tlsa(self, how="3 1 1"):
        """Rdata of a TLSA record that matches this certificate."""
        _, selector, mtype = how.split()
        data = self.der if selector == "0" else self.spki
        if mtype != "0":
            data = {"1": hashlib.sha256, "2": hashlib.sha512}[mtype](data).digest()
        return f"{how} {data.hex()}"


class Authority:
    def __init__(self, directory, name):
        self.dir = directory
        self.cert = Cert(os.path.join(directory, "ca.pem"), os.path.join(directory, "ca.key"))
        os.makedirs(directory, exist_ok=True)
        if os.path.exists(self.cert.cert):
            return
        new_key(self.cert.key)
        with open(os.path.join(directory, "index.txt"), "w", encoding="ascii"):
            pass
        with open(os.path.join(directory, "serial"), "w", encoding="ascii") as f:
            f.write(os.urandom(7).hex() + "01\n")
        with open(os.path.join(directory, "ca.conf"), "w", encoding="ascii") as f:
            f.write(CA_CONF.format(dir=directory))
        openssl("req", "-x509", "-new", "-key", self.cert.key, "-subj", f"/CN={name}", "-days", "3650",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.cert.cert)

    def sign(self, base, subject, extensions, start, end, by_itself=False):
        ext = base + ".ext"
        with open(ext, "w", encoding="ascii") as f:
            f.write("\n".join(extensions) + "\n")
        openssl("req", "-new", "-key", base + ".key", "-subj", subject, "-out", base + ".csr")
        openssl("ca", "-batch", "-notext", "-config", os.path.join(self.dir, "ca.conf"),
                "-in", base + ".csr", "-out", base + ".new", "-extfile", ext,
                "-startdate", stamp(start), "-enddate", stamp(end),
                *(["-selfsign", "-keyfile", base + ".key"] if by_itself else []))
        with open(base + ".new", encoding="ascii") as new, \
                open(self.cert.cert, encoding="ascii") as ca, \
                open(base + ".pem", "w", encoding="ascii") as out:
            out.write(new.read() + ("" if by_itself else ca.read()))


def new_key(path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    os.chmod(path, 0o600)


class Certs:
    def __init__(self, workdir):
        self.dir = os.path.abspath(workdir)
        self.authority = Authority(os.path.join(self.dir, "ca"), "Lab CA")
        self.other = None

    @property
    def ca(self):
        """PEM file of the CA that tests trust."""
        return self.authority.cert.cert

    def issue(self, name, kind="good", names=None):
        if kind not in KINDS:
            raise ValueError(f"certificate kind {kind}: one of {', '.join(KINDS)}")
        names = [name] if names is None else names
        tag = hashlib.sha256(repr((name, kind, names)).encode()).hexdigest()[:8]
        base = os.path.join(self.dir, f"{name.replace('*', '_')}-{kind}-{tag}")
        made = Cert(base + ".pem", base + ".key")
        if os.path.exists(made.cert):
            return made
        new_key(made.key)
        subject = f"/CN={name}" if kind == "cn-only" else "/CN=lab"
        if kind == "wrong-name":
            names = ["elsewhere.invalid"]
        usage = "clientAuth" if kind == "client" else "serverAuth"
        extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if kind != "cn-only":
            extensions.append("subjectAltName=" + ",".join("DNS:" + x for x in names))
        start, end = {"expired": (-800, -400), "self-expired": (-800, -400), "future": (400, 800)}.get(kind, (-1, 365))
        if kind == "self-signed":
            openssl("req", "-x509", "-new", "-key", made.key, "-subj", subject, "-days", "365",
                    *[x for ext in extensions for x in ("-addext", ext)], "-out", made.cert)
        else:
            authority = self.authority
            if kind == "other-ca":
                self.other = self.other or Authority(os.path.join(self.dir, "other-ca"), "Other CA")
                authority = self.other
            authority.sign(base, subject, extensions, start, end, by_itself=kind == "self-expired")
        return made

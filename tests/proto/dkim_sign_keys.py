"""RSA keys for DKIM, made once in a run."""

import base64
import subprocess

made = {}


def key(name):
    """A private key in PEM, and the DNS record of its other half."""
    if name not in made:
        pem = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubout", "-outform", "DER"], input=pem, check=True,
                             capture_output=True).stdout
        made[name] = pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    return made[name]

# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests of TLS."""

import datetime
import ipaddress
import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid

from tests import fixtures


def _name(text):
    return x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, text)])


def _write(directory, name, data):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def make(directory, address=fixtures.HOST, name="test"):
    """Make an authority and one certificate that it signed.

    :param address: IP address that the certificate is for; it serves as the
        servers' and as the client's.
    :returns: TLSFiles.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())

    def build(subject, public_key, *extensions):
        # Python 3.13 insists on the key identifiers and the key's usage.
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(name + " authority"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public_key),
                critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    authority_key.public_key()), critical=False))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM)

    return fixtures.TLSFiles(
        ca=_write(directory, name + "-ca.pem", build(
            name + " authority", authority_key.public_key(),
            x509.BasicConstraints(ca=True, path_length=0),
            x509.KeyUsage(
                key_cert_sign=True, crl_sign=True, digital_signature=False,
                content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False))),
        cert=_write(directory, name + "-cert.pem", build(
            name, key.public_key(), x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(address))]))),
        key=_write(directory, name + "-key.pem", key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption())))

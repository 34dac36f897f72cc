/* DKIM signatures for messages that leave (RFC 6376), made by libopendkim: relaxed/relaxed,
 * never with l= (T-08). What is signed is the message as it is given here: whoever signs does it after
 * the last change. Knows no configuration and asks no DNS. */
#ifndef MESSAGE_DKIM_H
#define MESSAGE_DKIM_H

#include "base/base.h"

/* A domain, a selector and the private key whose other half is in the DNS. Immutable, counted, shared
 * by threads. */
struct dkim_key;
/* Reads the PEM file `path`, so not for a worker: RSA from 1024 bits (RFC 8301; with
 * Ed25519 keys libopendkim 2.11 leaks memory at each signature). NULL, and
 * `err` says what is wrong with the key; `weak_out`: a short one, that receivers may soon refuse. */
struct dkim_key *dkim_key_new(const char *domain, const char *selector, const char *path, bool *weak_out,
    struct err *err);
struct dkim_key *dkim_key_ref(struct dkim_key *k);	/* NULL is fine for both */
void dkim_key_unref(struct dkim_key *k);
const char *dkim_key_domain(const struct dkim_key *k);

/* One signature. `header`: the header section, with or without its empty line, only read during the
 * call. Then the body in pieces, cut anywhere. NULL with `err` when the header cannot be signed. */
struct dkim_signer;
struct dkim_signer *dkim_signer_new(const struct dkim_key *k, struct slice header, struct err *err);
bool dkim_signer_add(struct dkim_signer *s, const char *p, size_t n);
/* The field with its name and final CRLF, heap, to be put on top; NULL with `err`. Frees `s`. */
char *dkim_signer_end(struct dkim_signer *s, struct err *err);
void dkim_signer_free(struct dkim_signer *s);		/* without end; NULL is fine */

#endif

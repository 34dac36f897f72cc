#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns/dns.h"
#include "policy/names.h"

/* ---- The hash ---- */

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static uint32_t
hash_of(const struct names *s, const char *p, size_t n)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)(s->exact ? p[i] : lower(p[i]))) * 1099511628211u;
	return (uint32_t)(h ^ h >> 32);
}

static uint32_t
slots_for(size_t n)
{
	uint32_t k = 4;

	while (k < n * 2)
		k *= 2;
	return k;
}

size_t
names_size(size_t n, size_t octets)
{
	if (n > 1u << 24 || octets > 1u << 30)
		return 0;
	return sizeof(struct names) + (slots_for(n) + 2 * n) * sizeof(uint32_t) + octets + 1;
}

struct names *
names_init(void *mem, size_t n, size_t octets, bool exact)
{
	struct names *s = mem;

	*s = (struct names){ .max = (uint32_t)n, .nslots = slots_for(n), .octets = (uint32_t)octets,
	    .exact = exact };
	memset(s->data, 0, s->nslots * sizeof(uint32_t));
	return s;
}

static char *
text_of(const struct names *s)
{
	return (char *)(s->data + s->nslots + 2 * (size_t)s->max);
}

struct slice
names_at(const struct names *s, size_t i)
{
	const uint32_t *e = s->data + s->nslots + 2 * i;

	return (struct slice){ text_of(s) + e[0], e[1] };
}

/* The slot where this name is, or would be put; slots hold index + 1. */
static uint32_t
find_slot(const struct names *s, const char *p, size_t n)
{
	uint32_t at = hash_of(s, p, n) & (s->nslots - 1);

	for (; s->data[at] != 0; at = (at + 1) & (s->nslots - 1)) {
		struct slice have = names_at(s, s->data[at] - 1);
		size_t i = 0;

		if (have.n != n)
			continue;
		while (i < n && have.p[i] == (s->exact ? p[i] : lower(p[i])))
			i++;
		if (i == n)
			break;
	}
	return at;
}

int64_t
names_find(const struct names *s, const char *p, size_t n)
{
	return s->n == 0 ? -1 : (int64_t)s->data[find_slot(s, p, n)] - 1;
}

bool
names_has(const struct names *s, const char *p, size_t n)
{
	return names_find(s, p, n) >= 0;
}

bool
names_add(struct names *s, const char *p, size_t n)
{
	uint32_t at = find_slot(s, p, n), *e;
	char *text;

	if (s->data[at] != 0)
		return false;
	MUST(s->n < s->max && n <= s->octets - s->used);
	e = s->data + s->nslots + 2 * (size_t)s->n;
	e[0] = s->used;
	e[1] = (uint32_t)n;
	text = text_of(s) + s->used;
	for (size_t i = 0; i < n; i++)
		text[i] = s->exact ? p[i] : lower(p[i]);
	s->used += (uint32_t)n;
	s->data[at] = ++s->n;
	return true;
}

static struct names *
names_alloc(size_t n, size_t octets)
{
	size_t size = names_size(n, octets);

	return size == 0 ? NULL : names_init(xmalloc(size), n, octets, false);
}

/* Room that the A-label form of these may take. */
static size_t
room_for(const char *const *v, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(v[i]);
		bool plain = len < 600;

		for (const char *p = v[i]; plain && *p != '\0'; p++)
			plain = (unsigned char)*p < 0x80;
		sum += plain ? len + 2 : 600;
	}
	return sum;
}

/* ---- Domains ---- */

/* "*.x" is kept as ".x"; ".x" as "x" and ".x". Labels go through IDNA, so that a policy may write
 * U-labels; address literals stay as they are. */
static bool
domain_form_add(struct domain_set *d, const char *form, struct err *err)
{
	bool below = strncmp(form, "*.", 2) == 0, both = form[0] == '.';
	const char *name = form + (below ? 2 : both ? 1 : 0);
	char ascii[260] = ".";

	if (strcmp(form, "*") == 0) {
		d->all = true;
		return true;
	}
	if (name[0] == '[' && !below && !both && strlen(name) < 256) {
		names_add(d->names, name, strlen(name));
		return true;
	}
	if (*name == '\0' || strchr(name, '*') != NULL || !dns_to_ascii(ascii + 1, slice_of(name))) {
		err_set(err, "\"%.200s\" is not a domain; write x.example, *.x.example, .x.example or *",
		    form);
		return false;
	}
	if (below || both) {
		names_add(d->names, ascii, strlen(ascii));
		d->has_below = true;
	}
	if (!below)
		names_add(d->names, ascii + 1, strlen(ascii + 1));
	return true;
}

bool
domain_set_init(struct domain_set *d, const char *const *v, size_t n, struct err *err)
{
	*d = (struct domain_set){ .names = names_alloc(2 * n, 2 * room_for(v, n)) };
	if (d->names == NULL) {
		err_set(err, "too many domains");
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (!domain_form_add(d, v[i], err)) {
			domain_set_fini(d);
			return false;
		}
	}
	return true;
}

void
domain_set_fini(struct domain_set *d)
{
	free(d->names);
	*d = (struct domain_set){ 0 };
}

bool
domain_set_has(const struct domain_set *d, struct slice domain)
{
	if (domain.n == 0)
		return false;
	if (d->all || names_has(d->names, domain.p, domain.n))
		return true;
	if (!d->has_below)
		return false;
	for (size_t i = 1; i + 1 < domain.n; i++)
		if (domain.p[i] == '.' && names_has(d->names, domain.p + i, domain.n - i))
			return true;
	return false;
}

/* ---- Addresses ---- */

static bool
address_form_add(struct address_set *a, const char *form, struct err *err)
{
	const char *at = strrchr(form, '@');
	char whole[600], domain[256];
	int n;

	if (strcmp(form, "<>") == 0 || *form == '\0') {
		a->null = true;
		return true;
	}
	if (at == NULL || at == form)	/* a domain form, with or without @ */
		return domain_form_add(&a->domains, at == NULL ? form : form + 1, err);
	if (at[1] == '\0') {
		n = snprintf(whole, sizeof whole, "%s", form);
	} else if (at[1] == '[') {
		n = snprintf(whole, sizeof whole, "%s", form);
	} else if (dns_to_ascii(domain, slice_of(at + 1))) {
		n = snprintf(whole, sizeof whole, "%.*s@%s", (int)(at - form), form, domain);
	} else {
		n = -1;
	}
	if (n < 0 || (size_t)n >= sizeof whole) {
		err_set(err, "\"%.200s\" is not an address; write user@x.example, user@, @x.example, "
		    "@*.x.example or <>", form);
		return false;
	}
	names_add(a->names, whole, (size_t)n);
	return true;
}

bool
address_set_init(struct address_set *a, const char *const *v, size_t n, struct err *err)
{
	*a = (struct address_set){ .names = names_alloc(n, room_for(v, n)),
	    .domains = { .names = names_alloc(2 * n, 2 * room_for(v, n)) } };
	if (a->names == NULL || a->domains.names == NULL) {
		err_set(err, "too many addresses");
		address_set_fini(a);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (!address_form_add(a, v[i], err)) {
			address_set_fini(a);
			return false;
		}
	}
	return true;
}

void
address_set_fini(struct address_set *a)
{
	free(a->names);
	domain_set_fini(&a->domains);
	*a = (struct address_set){ 0 };
}

bool
address_set_has(const struct address_set *a, struct slice address)
{
	const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
	size_t local;

	if (address.n == 0)
		return a->null;
	if (at == NULL)		/* <postmaster>: a local-part without a domain */
		at = address.p + address.n;
	local = (size_t)(at - address.p);
	if (names_has(a->names, address.p, address.n))
		return true;
	if (local < 256) {
		char user[260];

		memcpy(user, address.p, local);
		user[local] = '@';
		if (names_has(a->names, user, local + 1))
			return true;
	}
	if (local == address.n)
		return false;
	return domain_set_has(&a->domains, (struct slice){ at + 1, address.n - local - 1 });
}

/* What is true of a next hop, out of what look-up and connection say. The same for mail on its way
 * and for `sallyport probe`, which must not come to another opinion. */
#ifndef DELIVER_HOP_H
#define DELIVER_HOP_H

#include "dns/dns.h"
#include "smtp/smtp.h"
#include "trust/trust.h"

/* How a host's name was found through the MX records of a domain. */
enum mx_trust hop_mx_trust(const struct mx_result *r, const struct mx_host *h);
/* Why a connection ended before it could be used, as a stage. */
enum hop_stage hop_stage_of_end(enum smtp_client_end why, int code);
/* Stage, TLS and REQUIRETLS of a live connection, with the host's own name as what the certificate has
 * to show (DANE first, where the host has it). What was known before from DNS stays. */
void hop_facts(struct trust_facts *f, const struct smtp_client_info *info);

#endif

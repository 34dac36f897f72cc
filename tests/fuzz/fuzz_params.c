/* Parameters of MAIL and RCPT; the first octet says what is offered. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct smtp_mail_params mail;
	struct smtp_rcpt_params rcpt;
	struct smtp_reply r = { 0 };
	unsigned offered;
	struct slice in;
	bool in_tls;

	if (n == 0)
		return 0;
	offered = data[0] & 1 ? ~0u : (unsigned)data[0] << 2;
	in_tls = (data[0] & 2) != 0;
	in = (struct slice){ (const char *)data + 1, n - 1 };
	if (smtp_mail_params_parse(&mail, in, offered, in_tls, &r)) {
		MUST(!mail.requiretls || (in_tls && (offered & SMTP_EXT_REQUIRETLS)));
		MUST(!mail.smtputf8 || (offered & SMTP_EXT_SMTPUTF8));
		MUST(mail.envid == NULL || (strlen(mail.envid) <= 100 && (offered & SMTP_EXT_DSN)));
		smtp_mail_params_fini(&mail);
	} else {
		MUST(r.code >= 500 && r.code <= 599 && r.status[0] == '5');
		MUST(mail.envid == NULL && mail.auth == NULL);
	}
	if (smtp_rcpt_params_parse(&rcpt, in, offered, &r)) {
		MUST((rcpt.notify & NOTIFY_NEVER) == 0 || rcpt.notify == NOTIFY_NEVER);
		MUST(rcpt.orcpt == NULL || strlen(rcpt.orcpt) <= 500);
		smtp_rcpt_params_fini(&rcpt);
	} else {
		MUST(rcpt.orcpt == NULL);
	}
	return 0;
}

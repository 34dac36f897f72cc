/* What notices say to people, in English and German. For other languages there are templates. */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "message/message_int.h"

static const struct dsn_explain explain_en[] = {
	{ "5.7.30", "You asked for this message to travel only over protected connections "
	    "(REQUIRETLS). The recipient's mail server uses encryption, but it does not promise to pass "
	    "messages on under the same protection. The message was therefore not handed over, and none "
	    "of it has left us. The administrators of the recipient's mail server can add the support "
	    "that is missing (RFC 8689). You can also send the message again without asking for this "
	    "protection, or choose another way to send it." },
	{ "5.7.10", "You asked for this message to travel only over protected connections "
	    "(REQUIRETLS). No connection to the recipient's mail server could be made that is encrypted "
	    "and leads to the right server beyond doubt. The message was therefore not handed over, and "
	    "none of it has left us. You can send the message again without asking for this protection, "
	    "or choose another way to send it." },
	{ ".7.30", "This message may travel only over protected connections (REQUIRETLS), and the "
	    "recipient's mail server does not promise to pass it on under the same protection." },
	{ ".7.10", "This message may be sent over encrypted connections only, and the recipient's mail "
	    "server did not offer one that could be used." },
	{ ".7.5", "The recipient's mail server could not prove that it is the right one. To protect the "
	    "message, it was not handed over." },
	{ "5.1.1", "There is no such address at the recipient's mail server. Please check how it is "
	    "written." },
	{ "5.1.2", "The domain of this address does not exist. Please check the part after the @." },
	{ "5.1.10", "The domain of this address does not take mail." },
	{ ".1.", "There is something wrong with this address. Please check how it is written." },
	{ ".2.2", "The recipient's mailbox is full." },
	{ ".2.", "The recipient's mailbox cannot take the message." },
	{ ".3.4", "The message is too large for the recipient's mail server." },
	{ ".4.1", "The recipient's mail server could not be reached." },
	{ ".4.3", "The recipient's domain could not be looked up." },
	{ ".4.4", "The recipient's domain could not be looked up." },
	{ ".4.6", "The message went round in a circle." },
	{ ".4.7", "The message could not be delivered in the time it was given." },
	{ ".6.", "The recipient's mail server cannot take a message of this kind." },
	{ ".7.", "The recipient's mail server does not accept the message, because of its rules." },
	{ "", "The message could not be delivered." },
};

static const struct dsn_explain explain_de[] = {
	{ "5.7.30", "Sie haben verlangt, dass diese Nachricht nur über geschützte Verbindungen übertragen "
	    "wird (REQUIRETLS). Der Mailserver des Empfängers verschlüsselt zwar, sagt aber nicht zu, "
	    "Nachrichten unter demselben Schutz weiterzugeben. Die Nachricht wurde deshalb nicht "
	    "übergeben, und nichts davon hat uns verlassen. Die fehlende Unterstützung können die "
	    "Verwalter des Mailservers beim Empfänger einrichten (RFC 8689). Sie können die Nachricht "
	    "auch ohne diese Forderung noch einmal senden oder einen anderen Weg wählen." },
	{ "5.7.10", "Sie haben verlangt, dass diese Nachricht nur über geschützte Verbindungen übertragen "
	    "wird (REQUIRETLS). Zum Mailserver des Empfängers kam keine Verbindung zustande, die "
	    "verschlüsselt ist und zweifelsfrei zum richtigen Server führt. Die Nachricht wurde deshalb "
	    "nicht übergeben, und nichts davon hat uns verlassen. Sie können die Nachricht ohne diese "
	    "Forderung noch einmal senden oder einen anderen Weg wählen." },
	{ ".7.30", "Diese Nachricht darf nur über geschützte Verbindungen übertragen werden (REQUIRETLS), "
	    "und der Mailserver des Empfängers sagt nicht zu, sie unter demselben Schutz weiterzugeben." },
	{ ".7.10", "Diese Nachricht darf nur über verschlüsselte Verbindungen gesendet werden, und der "
	    "Mailserver des Empfängers bot keine brauchbare an." },
	{ ".7.5", "Der Mailserver des Empfängers konnte nicht nachweisen, dass er der richtige ist. Zum "
	    "Schutz der Nachricht wurde sie nicht übergeben." },
	{ "5.1.1", "Diese Adresse gibt es beim Mailserver des Empfängers nicht. Bitte prüfen Sie die "
	    "Schreibweise." },
	{ "5.1.2", "Die Domain dieser Adresse gibt es nicht. Bitte prüfen Sie den Teil nach dem @." },
	{ "5.1.10", "Die Domain dieser Adresse nimmt keine Nachrichten an." },
	{ ".1.", "Mit dieser Adresse stimmt etwas nicht. Bitte prüfen Sie die Schreibweise." },
	{ ".2.2", "Das Postfach des Empfängers ist voll." },
	{ ".2.", "Das Postfach des Empfängers kann die Nachricht nicht aufnehmen." },
	{ ".3.4", "Die Nachricht ist zu groß für den Mailserver des Empfängers." },
	{ ".4.1", "Der Mailserver des Empfängers war nicht zu erreichen." },
	{ ".4.3", "Die Domain des Empfängers konnte nicht nachgeschlagen werden." },
	{ ".4.4", "Die Domain des Empfängers konnte nicht nachgeschlagen werden." },
	{ ".4.6", "Die Nachricht ist im Kreis gelaufen." },
	{ ".4.7", "Die Nachricht konnte in der vorgesehenen Zeit nicht zugestellt werden." },
	{ ".6.", "Der Mailserver des Empfängers kann eine Nachricht dieser Art nicht annehmen." },
	{ ".7.", "Der Mailserver des Empfängers nimmt die Nachricht nach seinen Regeln nicht an." },
	{ "", "Die Nachricht konnte nicht zugestellt werden." },
};

static const struct dsn_phrases languages[] = {	/* the first is for everybody else */
	{
		.language = "en",
		.subject = {
			[DSN_FAILED] = "Your message could not be delivered",
			[DSN_DELAYED] = "Your message is delayed",
			[DSN_DELIVERED] = "Your message was delivered",
			[DSN_RELAYED] = "Your message was passed on",
		},
		.intro = {
			[DSN_FAILED] = "Your message could not be delivered to the recipients below. It will "
			    "not be tried again.",
			[DSN_DELAYED] = "Your message could not yet be delivered to the recipients below. It "
			    "will be tried again; there is nothing that you need to do.",
			[DSN_DELIVERED] = "Your message was delivered to the recipients below.",
			[DSN_RELAYED] = "Your message was passed on to the next mail server for the "
			    "recipients below. That server does not report what becomes of it.",
		},
		.reply_was = "The other server said:",
		.retry_until = "It will be tried until",
		.subject_was = "Subject of your message:",
		.attached_headers = "The header of your message is attached.",
		.attached_all = "Your message is attached.",
		.explain = explain_en,
	}, {
		.language = "de",
		.subject = {
			[DSN_FAILED] = "Ihre Nachricht konnte nicht zugestellt werden",
			[DSN_DELAYED] = "Ihre Nachricht ist verzögert",
			[DSN_DELIVERED] = "Ihre Nachricht wurde zugestellt",
			[DSN_RELAYED] = "Ihre Nachricht wurde weitergegeben",
		},
		.intro = {
			[DSN_FAILED] = "Ihre Nachricht konnte den folgenden Empfängern nicht zugestellt "
			    "werden. Es gibt keinen weiteren Versuch.",
			[DSN_DELAYED] = "Ihre Nachricht konnte den folgenden Empfängern noch nicht zugestellt "
			    "werden. Es wird weiter versucht; Sie brauchen nichts zu tun.",
			[DSN_DELIVERED] = "Ihre Nachricht wurde den folgenden Empfängern zugestellt.",
			[DSN_RELAYED] = "Ihre Nachricht wurde für die folgenden Empfänger an den nächsten "
			    "Mailserver weitergegeben. Dieser berichtet nicht, was aus ihr wird.",
		},
		.reply_was = "Der andere Server antwortete:",
		.retry_until = "Es wird versucht bis",
		.subject_was = "Betreff Ihrer Nachricht:",
		.attached_headers = "Der Kopf Ihrer Nachricht ist angehängt.",
		.attached_all = "Ihre Nachricht ist angehängt.",
		.explain = explain_de,
	},
};

const struct dsn_phrases *
dsn_phrases_for(const char *language, bool exact)
{
	for (size_t i = 0; language != NULL && i < NELEMS(languages); i++) {
		size_t n = strlen(languages[i].language);

		if (strncasecmp(language, languages[i].language, n) == 0 &&
		    (language[n] == '\0' || language[n] == '-' || language[n] == '_'))
			return &languages[i];
	}
	return exact ? NULL : &languages[0];
}

const char *
dsn_explain(const struct dsn_phrases *ph, const char *status)
{
	const struct dsn_explain *e = ph->explain;

	for (; e->status[0] != '\0'; e++) {
		const char *want = e->status, *have = status;
		size_t n = strlen(want);

		if (want[0] == '.' && have[0] != '\0')
			have++;
		/* ".1." stands for all that begin so, ".1.1" and "5.1.1" only for themselves. */
		if (strncmp(have, want, n) == 0 && (want[n - 1] == '.' || have[n] == '\0'))
			return e->text;
	}
	return e->text;
}

bool
dsn_subject_is_builtin(const char *subject, enum dsn_action kind)
{
	for (size_t i = 0; i < NELEMS(languages); i++)
		if (strcmp(subject, languages[i].subject[kind]) == 0)
			return true;
	return false;
}

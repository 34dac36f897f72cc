/* sallyportd: the daemon's command line, nothing else. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"

static void
usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyportd [-c FILE]\n"
	    "  -c, --config FILE   gateway.lua to run (default " SYSCONFDIR "/sallyport/gateway.lua)\n"
	    "  -V, --version       print the version\n"
	    "  -h, --help          print this\n"
	    "Runs in the foreground. SIGTERM stops, SIGHUP reads the configuration again.\n"
	    "See sallyportd(8), gateway.lua(5); `sallyport config check FILE` checks a configuration.\n");
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *conf = SYSCONFDIR "/sallyport/gateway.lua";
	int c;

	while ((c = getopt_long(argc, argv, "c:Vh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			conf = optarg;
			break;
		case 'V':
			puts(PACKAGE_STRING);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sallyportd: unexpected argument \"%s\"\n", argv[optind]);
		usage(stderr);
		return 2;
	}
	return gateway_run(conf);
}

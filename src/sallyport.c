/* sallyport: the administrator's command. All of it is in src/ctl. */
#include "config.h"

#include "ctl/ctl.h"

int
main(int argc, char **argv)
{
	return cli_main(argc, argv);
}

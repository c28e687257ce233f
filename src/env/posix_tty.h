/* Standard input, as bytes and as a terminal that is asked for a password. */
#ifndef ENV_POSIX_TTY_H
#define ENV_POSIX_TTY_H

#include "base/bytes.h"

/* Up to `len` bytes of standard input, as many as there are; 0 at its end. Blocks. */
size_t posix_tty_read(void *data, size_t len);

/* One line of standard input, without its newline, typed without echo where that is a terminal.
 * ERR_IO when standard input cannot be read. */
FALLIBLE posix_tty_read_password(struct buf *out, struct errbuf *why);

/* Whether a person may be watching standard error. */
bool posix_tty_is_watched(void);

#endif

#include "env/posix_tty.h"

#include <errno.h>
#include <termios.h>
#include <unistd.h>

size_t posix_tty_read(void *data, size_t len)
{
    ssize_t got = 0;
    do {
        got = read(STDIN_FILENO, data, len);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? 0 : (size_t)got;
}

/* Longer passwords are cut off by no one else: refuse what is no password. */
#define PASSWORD_MAX 4096

/* Byte by byte, so that nothing behind the newline is taken from whoever reads on. */
static FALLIBLE read_line(struct buf *out, struct errbuf *why)
{
    for (size_t len = 0;; len++) {
        char c = 0;
        ssize_t got = 0;
        do {
            got = read(STDIN_FILENO, &c, 1);
        } while (got < 0 && errno == EINTR);
        if (got < 0) {
            return err_from_errno(why, errno, "read", "standard input");
        }
        if (got == 0 || c == '\n') {
            break;
        }
        if (len == PASSWORD_MAX) {
            return errf(why, ERR_TOO_LARGE, "the password is too long");
        }
        buf_append_byte(out, (uint8_t)c);
    }
    if (out->len > 0 && out->data[out->len - 1] == '\r') {
        out->len--;
    }
    return ERR_OK;
}

enum err posix_tty_read_password(struct buf *out, struct errbuf *why)
{
    struct termios before;
    bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_terminal) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    enum err err = read_line(out, why);
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    }
    return err;
}

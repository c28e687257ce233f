/* A signal while echo is off must not leave it off: it is caught, the terminal is put back, and
 * then the signal takes its usual course. */
#include "env/posix_tty.h"

#include <errno.h>
#include <signal.h>
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

/* No password is longer. */
#define PASSWORD_MAX 4096

static const int fatal_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
#define FATAL_SIGNALS ARRAY_LEN(fatal_signals)

/* Signals have no context: the one that came, or 0. */
static volatile sig_atomic_t caught;

static void on_signal(int signum)
{
    caught = signum;
}

static void catch_signals(struct sigaction before[FATAL_SIGNALS])
{
    struct sigaction catcher = {.sa_handler = on_signal}; /* and no SA_RESTART: read() returns */
    sigemptyset(&catcher.sa_mask);
    caught = 0;
    for (size_t i = 0; i < FATAL_SIGNALS; i++) {
        sigaction(fatal_signals[i], &catcher, &before[i]);
    }
}

static void release_signals(const struct sigaction before[FATAL_SIGNALS])
{
    for (size_t i = 0; i < FATAL_SIGNALS; i++) {
        sigaction(fatal_signals[i], &before[i], NULL);
    }
    if (caught != 0) {
        raise(caught);
    }
}

/* Byte by byte, so that nothing behind the newline is taken from whoever reads on. */
static FALLIBLE read_line(struct buf *out, struct errbuf *why)
{
    for (size_t len = 0;; len++) {
        char c = 0;
        ssize_t got = 0;
        do {
            got = read(STDIN_FILENO, &c, 1);
        } while (got < 0 && errno == EINTR && caught == 0);
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
    struct termios shown;
    struct sigaction before[FATAL_SIGNALS];
    bool is_terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    catch_signals(before);
    if (is_terminal) {
        struct termios silent = shown;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    enum err err = read_line(out, why);
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    }
    release_signals(before);
    return err;
}

bool posix_tty_is_watched(void)
{
    return isatty(STDERR_FILENO) == 1;
}

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fatal_fn *fatal_hook;

static const char *const names[ERR_COUNT] = {
    [ERR_OK] = "ok",
    [ERR_IO] = "input/output error",
    [ERR_NOSPACE] = "no space",
    [ERR_CORRUPT] = "corrupt",
    [ERR_EOF] = "unexpected end",
    [ERR_NOT_FOUND] = "not found",
    [ERR_EXISTS] = "exists",
    [ERR_INVALID] = "invalid",
    [ERR_TOO_LARGE] = "too large",
    [ERR_AGAIN] = "would block",
    [ERR_CLOSED] = "closed",
    [ERR_LOCKED] = "locked",
    [ERR_PERM] = "permission denied",
    [ERR_TIMEOUT] = "timed out",
    [ERR_CANCELED] = "canceled",
    [ERR_COMPACTED] = "compacted",
    [ERR_FUTURE] = "in the future",
    [ERR_UNSUPPORTED] = "unsupported",
};

const char *err_name(enum err err)
{
    if ((unsigned)err >= ERR_COUNT) {
        return "unknown error";
    }
    return names[err];
}

enum err errf(struct errbuf *buf, enum err err, const char *format, ...)
{
    if (buf != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(buf->text, sizeof(buf->text), format, args);
        va_end(args);
    }
    return err;
}

enum err err_wrap(struct errbuf *buf, enum err err, const char *format, ...)
{
    if (buf == NULL) {
        return err;
    }
    struct errbuf inner = *buf;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(buf->text, sizeof(buf->text), format, args);
    va_end(args);
    if (len > 0 && (size_t)len < sizeof(buf->text)) {
        size_t room = sizeof(buf->text) - (size_t)len;
        if (room > 3) {
            snprintf(buf->text + len, room, ": %.*s", (int)(room - 3), inner.text);
        }
    }
    return err;
}

enum err err_from_errno(struct errbuf *buf, int errnum, const char *what, const char *path)
{
    enum err err = ERR_IO;
    switch (errnum) {
    case ENOENT:
        err = ERR_NOT_FOUND;
        break;
    case EEXIST:
        err = ERR_EXISTS;
        break;
    case ENOSPC:
    case EDQUOT:
        err = ERR_NOSPACE;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        err = ERR_PERM;
        break;
    case EAGAIN:
        err = ERR_AGAIN;
        break;
    default:
        break;
    }
    if (buf != NULL) {
        char reason[128];
        const char *text = strerror_r(errnum, reason, sizeof(reason));
        snprintf(buf->text, sizeof(buf->text), "%s %s: %s", what, path, text);
    }
    return err;
}

void fatal_hook_set(fatal_fn *hook)
{
    fatal_hook = hook;
}

void fatal(const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    if (fatal_hook != NULL) {
        fatal_hook(sentence);
    } else {
        fprintf(stderr, "fatal: %s\n", sentence);
    }
    exit(1);
}

void assert_failed(const char *file, int line, const char *func, const char *expr)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, func, expr);
    abort();
}

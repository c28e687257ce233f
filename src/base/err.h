/* Errors, assertions and the sentences that go with them.
 *
 * Three kinds of trouble are kept apart (STYLE, "Errors"):
 *
 *   a bug              ASSERT: prints where, aborts. On in release builds.
 *   an operating error a FALLIBLE function returns an `enum err`; where a caller wants
 *                      to tell a person, it also passes a `struct errbuf` and gets a sentence.
 *   a broken world     fatal(): prints a sentence an operator can act on, exits.
 *
 * Threads: everything here may be called from any thread. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum err {
    ERR_OK = 0,
    ERR_IO,          /* the system refused: see the sentence for file and errno */
    ERR_NOSPACE,     /* no space left on the device, or over a quota */
    ERR_CORRUPT,     /* bytes at rest or on the wire fail their check */
    ERR_EOF,         /* the data ended before the thing it promised */
    ERR_NOT_FOUND,   /* no such file, key, member, bucket … */
    ERR_EXISTS,      /* it is there already */
    ERR_INVALID,     /* a value from outside that makes no sense */
    ERR_TOO_LARGE,   /* over a limit */
    ERR_AGAIN,       /* would block: nothing was done, ask again when told */
    ERR_CLOSED,      /* the other side, or this object, is closed */
    ERR_LOCKED,      /* another process holds the lock */
    ERR_PERM,        /* permission denied */
    ERR_TIMEOUT,     /* a deadline passed */
    ERR_CANCELED,    /* the one who asked no longer wants it */
    ERR_COMPACTED,   /* the revision or index is gone by compaction */
    ERR_FUTURE,      /* the revision is not there yet */
    ERR_UNSUPPORTED, /* known, and not possible here */
    ERR_COUNT,
};

/* A must-use error: dropping it is a warning, and warnings stop the build. */
#define FALLIBLE __attribute__((warn_unused_result)) enum err

/* Returns early with the callee's error. Only while the function owns nothing. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (expr);                                                                \
        if (try_err_ != ERR_OK) {                                                                  \
            return try_err_;                                                                       \
        }                                                                                          \
    } while (0)

/* The error's name, such as "corrupt". Static storage. */
const char *err_name(enum err err);

/* One sentence for a person: which thing, what is wrong, what to do. */
struct errbuf {
    char text[512];
};

/* Formats the sentence into `buf` (may be NULL) and returns `err`, so that failing
 * is one line: return errf(buf, ERR_CORRUPT, "%s: bad magic", path); */
__attribute__((format(printf, 3, 4))) enum err errf(struct errbuf *buf, enum err err,
                                                    const char *format, ...);

/* Puts "prefix: " in front of the sentence already in `buf` (may be NULL); returns `err`. */
__attribute__((format(printf, 3, 4))) enum err err_wrap(struct errbuf *buf, enum err err,
                                                        const char *format, ...);

/* Maps errno to an err and writes "<what> <path>: <strerror>" into `buf` (may be NULL). */
enum err err_from_errno(struct errbuf *buf, int errnum, const char *what, const char *path);

/* Prints the sentence to standard error (or to the hook below) and exits with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void fatal(const char *format, ...);

/* The program's own last words, e.g. one zap-JSON line at level "fatal". The hook must not return
 * to run more of the program; fatal() exits after it. Set once, before threads start. */
typedef void fatal_fn(const char *sentence);
void fatal_hook_set(fatal_fn *hook);

__attribute__((noreturn, cold)) void assert_failed(const char *file, int line, const char *func,
                                                   const char *expr);

/* One condition each. Nothing a peer, client or disk can send may reach one. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            assert_failed(__FILE__, __LINE__, __func__, #cond);                                    \
        }                                                                                          \
    } while (0)

/* For O(n) checks: compiled in with -DSLOW_CHECKS (debug and sanitizer builds). */
#ifdef SLOW_CHECKS
#define SLOW_ASSERT(cond) ASSERT(cond)
#else
#define SLOW_ASSERT(cond) ((void)sizeof(cond))
#endif

#define UNREACHABLE() assert_failed(__FILE__, __LINE__, __func__, "unreachable")

#define UNUSED(x) ((void)(x))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
/* The same where `ptr` points to const, and so does the result. */
#define CONTAINER_OF_CONST(ptr, type, member)                                                      \
    ((const type *)(const void *)((const char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif

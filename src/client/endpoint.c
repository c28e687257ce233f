/* Source: clientv3's endpoint interpretation: http and https are schemes of URLs, unix and unixs
 * take a path with or without slashes, everything else is an address. */
#include "client/endpoint.h"

static enum err refuse(struct errbuf *why, const char *text, const char *reason)
{
    return errf(why, ERR_INVALID, "endpoint \"%.200s\": %s", text, reason);
}

/* The rest behind `prefix`, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static FALLIBLE parse_unix(struct arena *arena, const char *text, const char *rest,
                           struct endpoint *out, struct errbuf *why)
{
    const char *slashes = behind(rest, "//");
    const char *path = slashes == NULL ? rest : slashes;
    if (path[0] == 0) {
        return refuse(why, text, "no path to a socket");
    }
    const char *base = strrchr(path, '/');
    base = base == NULL || base[1] == 0 ? path : base + 1;
    out->host = arena_strndup(arena, path, strlen(path));
    out->port = "unix";
    out->authority = arena_strndup(arena, base, strlen(base));
    return ERR_OK;
}

/* "127.0.0.1:2379", "[::1]:2379", "localhost:2379". */
static FALLIBLE parse_address(struct arena *arena, const char *text, struct slice address,
                              struct endpoint *out, struct errbuf *why)
{
    const char *start = (const char *)address.data;
    size_t colon = address.len;
    while (colon > 0 && start[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 || colon == address.len ||
        (start[0] == '[' && (colon < 2 || start[colon - 2] != ']'))) {
        return refuse(why, text, "missing port in address");
    }
    struct slice host = slice_of(start, colon - 1);
    if (start[0] == '[') {
        host = slice_of(start + 1, colon - 3);
    } else if (memchr(host.data, ':', host.len) != NULL) {
        return refuse(why, text, "too many colons in address");
    }
    if (memchr(start, 0, address.len) != NULL) {
        return refuse(why, text, "invalid character in address");
    }
    /* An empty host is this machine, as in Go's Dial. */
    out->host =
        host.len == 0 ? "localhost" : arena_strndup(arena, (const char *)host.data, host.len);
    out->port = arena_strndup(arena, start + colon, address.len - colon);
    out->authority = arena_strndup(arena, start, address.len);
    return ERR_OK;
}

/* What is between "scheme://" and the path, without "user@". */
static struct slice url_host(const char *rest)
{
    struct slice host = slice_of(rest, strcspn(rest, "/?#"));
    for (size_t i = host.len; i > 0; i--) {
        if (host.data[i - 1] == '@') {
            return slice_skip(host, i);
        }
    }
    return host;
}

enum err endpoint_parse(struct arena *arena, const char *text, struct endpoint *out,
                        struct errbuf *why)
{
    static const struct {
        const char *prefix;
        enum endpoint_security security;
        bool is_unix;
    } schemes[] = {
        {"http://", ENDPOINT_CLEARTEXT, false},
        {"https://", ENDPOINT_TLS, false},
        {"unix:", ENDPOINT_EITHER, true},
        {"unixs:", ENDPOINT_TLS, true},
    };
    if (strlen(text) > ENDPOINT_LEN_MAX) {
        return refuse(why, text, "too long");
    }
    struct endpoint parsed = {.text = arena_strndup(arena, text, strlen(text)),
                              .security = ENDPOINT_EITHER};
    const char *rest = NULL;
    size_t i = 0;
    for (; i < ARRAY_LEN(schemes) && rest == NULL; i++) {
        rest = behind(text, schemes[i].prefix);
    }
    if (rest == NULL && strstr(text, "://") != NULL) {
        return refuse(why, text, "unknown scheme: use http, https or unix");
    }
    if (rest == NULL) {
        TRY(parse_address(arena, text, slice_str(text), &parsed, why));
    } else {
        parsed.security = schemes[i - 1].security;
        TRY(schemes[i - 1].is_unix ? parse_unix(arena, text, rest, &parsed, why)
                                   : parse_address(arena, text, url_host(rest), &parsed, why));
    }
    *out = parsed;
    return ERR_OK;
}

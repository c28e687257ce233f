/* URLs as Go's net/url reads and prints them, and etcd's lists of URLs.
 *
 * Only what etcd configures: scheme://host:port, unix://path, and the errors for everything else,
 * in the words of net/url and of etcd's types.NewURLs. No percent-decoding of queries, no relative
 * resolution.
 *
 * Ownership: results live in the caller's arena; the input is borrowed during the call only.
 * Threads:   pure.
 * Failure:   ERR_INVALID with Go's sentence in *why. URL_LEN_MAX and URL_COUNT_MAX bound what is
 *            looked at; over them the sentence is ours. */
#ifndef BASE_URL_H
#define BASE_URL_H

#include "base/bytes.h"
#include "base/mem.h"

#define URL_LEN_MAX 8192
#define URL_COUNT_MAX 1024

struct url {
    const char *text;     /* as Go's URL.String() prints it; what etcd shows, sorts and hashes */
    const char *scheme;   /* lower case */
    const char *host;     /* "127.0.0.1:2379", "[::1]:2379", "" */
    const char *hostname; /* host without port and brackets */
    const char *port;     /* "2379" or "" */
    const char *path;     /* decoded; for unix:// the rest of the socket's name */
    const char *opaque;   /* "unix:name": what is behind the colon */
    bool has_user;        /* "user@" was there */
};

struct url_list {
    struct url *items;
    size_t count;
};

/* One name of an initial cluster and its sorted URLs. */
struct url_map_entry {
    const char *name;
    struct url_list urls;
};
/* Sorted by name. */
struct url_map {
    struct url_map_entry *items;
    size_t count;
};

/* url.Parse. `parse "x": missing protocol scheme` and so on. */
FALLIBLE url_parse(struct arena *arena, struct slice text, struct url *out, struct errbuf *why);

/* types.NewURLs on a comma-separated list: each http or https URL needs host:port and no path; the
 * result is sorted by text and keeps duplicates. */
FALLIBLE url_list_parse(struct arena *arena, struct slice text, struct url_list *out,
                        struct errbuf *why);

/* As etcd's unique list flags: url_list_parse() without what repeats; "" gives no URL. */
FALLIBLE url_list_parse_unique(struct arena *arena, struct slice text, struct url_list *out,
                               struct errbuf *why);

/* types.NewURLsMap: "name=url,name=url"; a name may repeat, empty parts are skipped. */
FALLIBLE url_map_parse(struct arena *arena, struct slice text, struct url_map *out,
                       struct errbuf *why);

/* The entry called `name`, or NULL. */
const struct url_map_entry *url_map_find(const struct url_map *map, const char *name);

/* "name=url,name=url", the pairs sorted; and "url,url" in list order. In the arena. */
const char *url_map_text(struct arena *arena, const struct url_map *map);
const char *url_list_text(struct arena *arena, const struct url_list *list);

/* The texts of a list as an array, for log_strs(). In the arena; never NULL. */
const char *const *url_list_texts(struct arena *arena, const struct url_list *list);

/* net.SplitHostPort. *host and *port point into `address`.
 * "address x: missing port in address" · "too many colons in address" · … */
FALLIBLE host_port_split(struct slice address, struct slice *host_out, struct slice *port_out,
                         struct errbuf *why);

/* net.ParseIP: dotted IPv4 without leading zeros, or IPv6 without a zone. 4, 6, or 0 for neither;
 * bytes (may be NULL) gets 4 or 16 of them. */
int ip_parse(struct slice text, uint8_t bytes[16]);

#endif

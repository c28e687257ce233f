/* The machine's own address: that of the interface of the default route, found in what Linux
 * shows of its tables.
 *
 *   /proc/net/route     Iface Destination Gateway Flags RefCnt Use Metric Mask ...   (hexadecimal,
 *                       in the byte order of the machine)
 *   /proc/net/fib_trie  "|-- 10.0.0.7" followed by "/32 host LOCAL": an address of ours
 *
 * The address is the one of ours that lies in a network of the default route's interface. Where
 * the files are missing or say nothing there is no default host, and nothing is replaced. */
#include "server/config_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define TABLE_LEN_MAX ((size_t)1 << 20)
#define ROUTES_MAX 256

struct route {
    char device[32];
    uint32_t target; /* as the machine keeps it: compare with bytes as they lie */
    uint32_t mask;
};

/* Files under /proc have no size: read until there is no more. */
static enum err read_table(struct disk *disk, const char *path, struct buf *out, struct errbuf *why)
{
    struct file *file;
    TRY(disk_open(disk, path, FILE_READ, &file, why));
    enum err err = ERR_OK;
    size_t got = 1;
    while (err == ERR_OK && got > 0 && out->len < TABLE_LEN_MAX) {
        uint8_t *into = buf_reserve(out, 4096);
        err = file_pread(file, into, 4096, out->len, &got, why);
        out->len += err == ERR_OK ? got : 0;
    }
    file_close(&file);
    return err;
}

static size_t parse_routes(struct slice text, struct route *routes)
{
    size_t count = 0;
    while (text.len > 0 && count < ROUTES_MAX) {
        struct slice line;
        char copy[256];
        struct route *route = &routes[count];
        text = slice_split(text, '\n', &line);
        if (line.len == 0 || line.len >= sizeof(copy)) {
            continue;
        }
        memcpy(copy, line.data, line.len);
        copy[line.len] = 0;
        if (sscanf(copy, "%31s %x %*x %*x %*d %*d %*d %x", route->device, &route->target,
                   &route->mask) == 3) {
            count++;
        }
    }
    return count;
}

/* Is the address in a network of `device` other than the default route itself? */
static bool is_on_device(const struct route *routes, size_t count, const char *device,
                         const uint8_t bytes[4])
{
    uint32_t address;
    memcpy(&address, bytes, sizeof(address));
    for (size_t i = 0; i < count; i++) {
        const struct route *route = &routes[i];
        if (route->mask != 0 && strcmp(route->device, device) == 0 &&
            (address & route->mask) == route->target) {
            return true;
        }
    }
    return false;
}

/* The first address of ours in `text` that is on the device. */
static const char *find_local(struct slice text, const struct route *routes, size_t count,
                              const char *device, struct arena *arena)
{
    uint8_t bytes[16] = {0};
    struct slice candidate = SLICE_EMPTY;
    while (text.len > 0) {
        struct slice line;
        text = slice_split(text, '\n', &line);
        while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '|')) {
            line = slice_skip(line, 1);
        }
        if (slice_starts(line, SLICE("-- "))) {
            candidate = slice_skip(line, 3);
        } else if (slice_starts(line, SLICE("/32 host LOCAL")) && ip_parse(candidate, bytes) == 4 &&
                   is_on_device(routes, count, device, bytes)) {
            return arena_strndup(arena, (const char *)candidate.data, candidate.len);
        }
    }
    return NULL;
}

const char *config__default_host(struct disk *disk, struct arena *arena, struct errbuf *why)
{
    struct buf table = {0};
    struct buf trie = {0};
    const char *host = NULL;
    struct route *routes = arena_zalloc(arena, ROUTES_MAX * sizeof(*routes));
    if (read_table(disk, "/proc/net/route", &table, why) != ERR_OK ||
        read_table(disk, "/proc/net/fib_trie", &trie, why) != ERR_OK) {
        goto out;
    }
    errf(why, ERR_NOT_FOUND, "could not find default route");
    size_t count = parse_routes(buf_slice(&table), routes);
    for (size_t i = 0; i < count && host == NULL; i++) {
        if (routes[i].target == 0 && routes[i].mask == 0) {
            host = find_local(buf_slice(&trie), routes, count, routes[i].device, arena);
        }
    }
out:
    buf_fini(&table);
    buf_fini(&trie);
    return host;
}

/* What the flags say about a member that starts with nothing: who its cluster is, and whether the
 * directory is indeed empty. */
#include "server/config_priv.h"

#include "base/gotext.h"

/* ---- the initial cluster
 * ------------------------------------------------------------------------------ */

static bool list_has(const struct url_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

/* ["a" "b"], as Go's %q shows a list. */
static const char *quote_list(const struct config_founding *f, const struct url_list *list)
{
    struct buf text = {0};
    buf_append_byte(&text, '[');
    for (size_t i = 0; i < list->count; i++) {
        buf_printf(&text, "%s\"%s\"", i == 0 ? "" : " ", list->items[i].text);
    }
    buf_append_byte(&text, ']');
    const char *copy = arena_strndup(f->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

/* Why two lists differ, in netutil's words. Names are not looked up: two names of one address are
 * two URLs to us, where etcd would ask the DNS. */
static const char *difference(const struct config_founding *f, const struct url_list *advertised,
                              const struct url_list *initial)
{
    struct arena *arena = f->arena;
    if (advertised->count != initial->count) {
        return arena_printf(arena, "len(%s) != len(%s)", quote_list(f, advertised),
                            quote_list(f, initial));
    }
    for (size_t i = 0; i < initial->count; i++) {
        if (strcmp(advertised->items[i].text, initial->items[i].text) != 0) {
            return arena_printf(arena, "resolved urls: \"%s\" != \"%s\"", advertised->items[i].text,
                                initial->items[i].text);
        }
    }
    return NULL;
}

/* "name=url,..." of the URLs in `list` that `other` lacks, or NULL. */
static const char *missing(const struct config_founding *f, const struct url_list *list,
                           const struct url_list *other, const char *prefix)
{
    struct buf text = {0};
    const char *copy = NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (!list_has(other, list->items[i].text)) {
            buf_printf(&text, "%s%s%s", text.len == 0 ? "" : ",", prefix, list->items[i].text);
        }
    }
    if (text.len > 0) {
        copy = arena_strndup(f->arena, buf_cstr(&text), text.len);
    }
    buf_fini(&text);
    return copy;
}

/* ServerConfig.advertiseMatchesCluster. */
static enum err check_advertised(const struct config_founding *f, const struct url_list *initial,
                                 struct errbuf *why)
{
    struct arena *arena = f->arena;
    const struct url_list *advertised = f->advertised;
    const char *reason = difference(f, advertised, initial);
    if (reason == NULL) {
        return ERR_OK;
    }
    const char *prefix = arena_printf(arena, "%s=", f->name);
    const char *lacking = missing(f, initial, advertised, prefix);
    if (lacking != NULL) {
        return errf(why, ERR_INVALID,
                    "--initial-cluster has %s but missing from --initial-advertise-peer-urls=%s "
                    "(%s)",
                    lacking, url_list_text(arena, advertised), reason);
    }
    lacking = missing(f, advertised, initial, "");
    struct url_map_entry own = {.name = f->name, .urls = *advertised};
    struct url_map map = {.items = &own, .count = 1};
    const char *shown = url_map_text(arena, &map);
    if (lacking != NULL) {
        return errf(why, ERR_INVALID,
                    "--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s",
                    lacking, shown);
    }
    return errf(why, ERR_INVALID, "failed to resolve %s to match --initial-cluster=%s (%s)",
                url_list_text(arena, advertised), shown, reason);
}

static bool has_duplicate(const struct url_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct url_list *urls = &map->items[i].urls;
        for (size_t k = 0; k < urls->count; k++) {
            if (k > 0 && strcmp(urls->items[k - 1].text, urls->items[k].text) == 0) {
                return true;
            }
            for (size_t later = i + 1; later < map->count; later++) {
                if (list_has(&map->items[later].urls, urls->items[k].text)) {
                    return true;
                }
            }
        }
    }
    return false;
}

FALLIBLE config_check_founding(const struct config_founding *f, struct url_map *out,
                               struct errbuf *why)
{
    struct url_map map;
    if (url_map_parse(f->arena, slice_str(f->initial_cluster), &map, why) != ERR_OK) {
        return err_wrap(why, ERR_INVALID, "error setting up initial cluster");
    }
    const struct url_map_entry *own = url_map_find(&map, f->name);
    if (own == NULL) {
        struct buf quoted = {0};
        go_quote(slice_str(f->name), &quoted);
        errf(why, ERR_INVALID, "couldn't find local name %s in the initial cluster configuration",
             buf_cstr(&quoted));
        buf_fini(&quoted);
        return ERR_INVALID;
    }
    TRY(check_advertised(f, &own->urls, why));
    if (has_duplicate(&map)) {
        return errf(why, ERR_INVALID, "initial cluster %s has duplicate url",
                    url_map_text(f->arena, &map));
    }
    *out = map;
    return ERR_OK;
}

FALLIBLE config_bootstrap(const struct config *config, struct url_map *out, struct errbuf *why)
{
    struct config_founding founding = {
        .arena = &config->priv->arena,
        .name = config->name,
        .initial_cluster = config->initial_cluster,
        .advertised = &config->initial_advertise_peer_urls,
    };
    if (strcmp(config->initial_cluster_state, "existing") == 0) {
        return errf(why, ERR_UNSUPPORTED,
                    "--initial-cluster-state=existing: joining a running cluster is not built yet; "
                    "start with new, or on the member's own data directory");
    }
    return config_check_founding(&founding, out, why);
}

/* ---- the data directory
 * ------------------------------------------------------------------------------ */

struct look {
    const struct config *config;
    bool has_member;
    bool has_proxy;
};

static void look_at(const char *name, void *ctx)
{
    struct look *look = ctx;
    if (strcmp(name, "member") == 0) {
        look->has_member = true;
    } else if (strcmp(name, "proxy") == 0) {
        look->has_proxy = true;
    } else {
        struct log log = config_log(look->config);
        LOG_WARN(&log, "found invalid file under data directory", log_str("filename", name),
                 log_str("data-dir", look->config->data_dir));
    }
}

static const char *dir_type(const struct look *look)
{
    return look->has_member ? "member" : look->has_proxy ? "proxy" : "empty";
}

FALLIBLE config_identify_dir(const struct config *config, struct disk *disk, enum config_dir *out)
{
    struct look look = {.config = config};
    struct log log = config_log(config);
    struct errbuf why;
    enum err err = disk_list(disk, config->data_dir, look_at, &look, &why);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        LOG_FATAL(&log, "failed to list data directory", log_str("dir", config->data_dir),
                  log_error(why.text));
        return err;
    }
    if (look.has_member && look.has_proxy) {
        LOG_FATAL(&log, "invalid datadir; both member and proxy directories exist");
        return ERR_INVALID;
    }
    if (!look.has_member && !look.has_proxy) {
        LOG_INFO(&log, "Initialize and start etcd server", log_str("data-dir", config->data_dir),
                 log_str("dir-type", dir_type(&look)));
        *out = CONFIG_DIR_EMPTY;
        return ERR_OK;
    }
    LOG_INFO(&log, "server has already been initialized", log_str("data-dir", config->data_dir),
             log_str("dir-type", dir_type(&look)));
    if (look.has_proxy) {
        LOG_FATAL(&log, "v2 http proxy has already been deprecated in 3.6",
                  log_str("dir-type", dir_type(&look)));
        return ERR_UNSUPPORTED;
    }
    *out = CONFIG_DIR_MEMBER;
    return ERR_OK;
}

/* The set and one member's JSON. The v2 tree is in member_v2.c. */
#include "state/member.h"

#include "base/mem.h"
#include "codec/json.h"

#include <inttypes.h>

struct member_set {
    uint64_t cluster_id;
    char *version;
    struct member *members; /* ascending ids */
    size_t count;
    member_id *removed; /* ascending */
    size_t removed_count;
};

struct member_set *member_set_new(uint64_t cluster_id)
{
    struct member_set *set = NEW(struct member_set);
    set->cluster_id = cluster_id;
    set->version = mem_strdup("");
    return set;
}

void member_urls_add(struct member_urls *list, struct slice url)
{
    list->urls = mem_realloc(list->urls, (list->count + 1) * sizeof(char *));
    char *copy = mem_alloc(url.len + 1);
    if (url.len > 0) {
        memcpy(copy, url.data, url.len);
    }
    copy[url.len] = '\0';
    list->urls[list->count++] = copy;
}

void member_urls_fini(struct member_urls *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->urls[i]);
    }
    mem_free(list->urls);
    *list = (struct member_urls){0};
}

static struct member_urls member_urls_copy(const struct member_urls *from)
{
    struct member_urls copy = {0};
    for (size_t i = 0; i < from->count; i++) {
        member_urls_add(&copy, slice_str(from->urls[i]));
    }
    return copy;
}

void member_fini(struct member *member)
{
    mem_free(member->name);
    member_urls_fini(&member->peer_urls);
    member_urls_fini(&member->client_urls);
    *member = (struct member){0};
}

void member_set_free(struct member_set **set)
{
    if (*set == NULL) {
        return;
    }
    for (size_t i = 0; i < (*set)->count; i++) {
        member_fini(&(*set)->members[i]);
    }
    mem_free((*set)->members);
    mem_free((*set)->removed);
    mem_free((*set)->version);
    mem_free(*set);
    *set = NULL;
}

/* Position of the first member with an id of at least `id`. */
static size_t position(const struct member_set *set, member_id id)
{
    size_t at = 0;
    while (at < set->count && set->members[at].id < id) {
        at++;
    }
    return at;
}

static struct member *find(const struct member_set *set, member_id id)
{
    size_t at = position(set, id);
    return at < set->count && set->members[at].id == id ? &set->members[at] : NULL;
}

FALLIBLE member_set_add(struct member_set *set, const struct member *member)
{
    if (member_set_is_removed(set, member->id)) {
        return ERR_NOT_FOUND;
    }
    size_t at = position(set, member->id);
    if (at < set->count && set->members[at].id == member->id) {
        return ERR_EXISTS;
    }
    set->members = mem_realloc(set->members, (set->count + 1) * sizeof(struct member));
    memmove(set->members + at + 1, set->members + at, (set->count - at) * sizeof(struct member));
    set->count++;
    set->members[at] = (struct member){
        .id = member->id,
        .name = mem_strdup(member->name == NULL ? "" : member->name),
        .peer_urls = member_urls_copy(&member->peer_urls),
        .client_urls = member_urls_copy(&member->client_urls),
        .is_learner = member->is_learner,
    };
    return ERR_OK;
}

static void removed_add(struct member_set *set, member_id id)
{
    size_t at = 0;
    while (at < set->removed_count && set->removed[at] < id) {
        at++;
    }
    if (at < set->removed_count && set->removed[at] == id) {
        return;
    }
    set->removed = mem_realloc(set->removed, (set->removed_count + 1) * sizeof(member_id));
    memmove(set->removed + at + 1, set->removed + at,
            (set->removed_count - at) * sizeof(member_id));
    set->removed[at] = id;
    set->removed_count++;
}

FALLIBLE member_set_remove(struct member_set *set, member_id id)
{
    struct member *member = find(set, id);
    removed_add(set, id);
    if (member == NULL) {
        return ERR_NOT_FOUND;
    }
    size_t at = (size_t)(member - set->members);
    member_fini(member);
    set->count--;
    memmove(set->members + at, set->members + at + 1, (set->count - at) * sizeof(struct member));
    return ERR_OK;
}

FALLIBLE member_set_promote(struct member_set *set, member_id id)
{
    struct member *member = find(set, id);
    if (member == NULL) {
        return ERR_NOT_FOUND;
    }
    member->is_learner = false;
    return ERR_OK;
}

FALLIBLE member_set_peer_urls(struct member_set *set, member_id id, const struct member_urls *urls)
{
    struct member *member = find(set, id);
    if (member == NULL) {
        return ERR_NOT_FOUND;
    }
    struct member_urls copy = member_urls_copy(urls);
    member_urls_fini(&member->peer_urls);
    member->peer_urls = copy;
    return ERR_OK;
}

static char *text_of(struct slice text)
{
    char *copy = mem_alloc(text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

FALLIBLE member_set_attributes(struct member_set *set, member_id id, struct slice name,
                               const struct member_urls *client_urls)
{
    struct member *member = find(set, id);
    if (member == NULL) {
        return ERR_NOT_FOUND;
    }
    struct member_urls copy = member_urls_copy(client_urls);
    char *new_name = text_of(name);
    member_urls_fini(&member->client_urls);
    mem_free(member->name);
    member->client_urls = copy;
    member->name = new_name;
    return ERR_OK;
}

void member_set_version(struct member_set *set, struct slice version)
{
    char *copy = text_of(version);
    mem_free(set->version);
    set->version = copy;
}

const char *member_set_cluster_version(const struct member_set *set)
{
    return set->version;
}

size_t member_set_count(const struct member_set *set)
{
    return set->count;
}

const struct member *member_set_at(const struct member_set *set, size_t at)
{
    ASSERT(at < set->count);
    return &set->members[at];
}

const struct member *member_set_find(const struct member_set *set, member_id id)
{
    return find(set, id);
}

bool member_set_is_removed(const struct member_set *set, member_id id)
{
    for (size_t i = 0; i < set->removed_count; i++) {
        if (set->removed[i] == id) {
            return true;
        }
    }
    return false;
}

size_t member_set_removed_count(const struct member_set *set)
{
    return set->removed_count;
}

member_id member_set_removed_at(const struct member_set *set, size_t at)
{
    ASSERT(at < set->removed_count);
    return set->removed[at];
}

void member_set_check(const struct member_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        ASSERT(i == 0 || set->members[i - 1].id < set->members[i].id);
        ASSERT(set->members[i].name != NULL);
        ASSERT(!member_set_is_removed(set, set->members[i].id));
    }
    for (size_t i = 1; i < set->removed_count; i++) {
        ASSERT(set->removed[i - 1] < set->removed[i]);
    }
}

/* Go: a JSON array of strings; null when the slice is nil, which a decoder takes as empty. */
static void urls_encode(const struct member_urls *list, struct buf *out)
{
    buf_append_byte(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            buf_append_byte(out, ',');
        }
        json_append_string(out, slice_str(list->urls[i]));
    }
    buf_append_byte(out, ']');
}

static void raft_attributes_fields(const struct member *member, struct buf *out)
{
    buf_append_str(out, "\"peerURLs\":");
    urls_encode(&member->peer_urls, out);
    if (member->is_learner) {
        buf_append_str(out, ",\"isLearner\":true");
    }
}

/* name and clientURLs are omitted when empty, as their Go tags say; `comma` puts one in front of
 * the first that is there. */
static void attributes_fields(const struct member *member, bool comma, struct buf *out)
{
    if (member->name[0] != '\0') {
        buf_append_str(out, comma ? ",\"name\":" : "\"name\":");
        json_append_string(out, slice_str(member->name));
        comma = true;
    }
    if (member->client_urls.count > 0) {
        buf_append_str(out, comma ? ",\"clientURLs\":" : "\"clientURLs\":");
        urls_encode(&member->client_urls, out);
    }
}

void member_encode_row(const struct member *member, struct buf *out)
{
    buf_printf(out, "{\"id\":%" PRIu64 ",", member->id);
    raft_attributes_fields(member, out);
    attributes_fields(member, true, out);
    buf_append_byte(out, '}');
}

void member_encode_raft_attributes(const struct member *member, struct buf *out)
{
    buf_append_byte(out, '{');
    raft_attributes_fields(member, out);
    buf_append_byte(out, '}');
}

void member_encode_attributes(const struct member *member, struct buf *out)
{
    buf_append_byte(out, '{');
    attributes_fields(member, false, out);
    buf_append_byte(out, '}');
}

static FALLIBLE text_decode(const struct json *json, char **out)
{
    struct slice text = json_string_or(json, SLICE_EMPTY);
    if (text.len > MEMBER_TEXT_MAX || (text.len > 0 && memchr(text.data, 0, text.len) != NULL)) {
        return ERR_CORRUPT;
    }
    *out = text_of(text);
    return ERR_OK;
}

static FALLIBLE urls_decode(const struct json *json, struct member_urls *out)
{
    if (json == NULL || json->kind == JSON_NULL) {
        return ERR_OK;
    }
    if (json->kind != JSON_ARRAY || json->children.count > MEMBER_URLS_MAX) {
        return ERR_CORRUPT;
    }
    for (const struct json *url = json->children.first; url != NULL; url = url->next) {
        char *text = NULL;
        if (url->kind != JSON_STRING || text_decode(url, &text) != ERR_OK) {
            return ERR_CORRUPT;
        }
        member_urls_add(out, slice_str(text));
        mem_free(text);
    }
    return ERR_OK;
}

static FALLIBLE fields_decode(const struct json *json, struct member *out)
{
    out->is_learner = json_bool_or(json_get(json, "isLearner"), false);
    TRY(text_decode(json_get(json, "name"), &out->name));
    TRY(urls_decode(json_get(json, "peerURLs"), &out->peer_urls));
    return urls_decode(json_get(json, "clientURLs"), &out->client_urls);
}

FALLIBLE member_decode_row(struct slice text, struct member *out, struct errbuf *why)
{
    struct arena arena;
    struct json *json = NULL;
    struct member member = {0};
    arena_init(&arena);
    enum err err = json_parse(&arena, text, &json, why);
    if (err == ERR_OK && (json_to_u64(json_get(json, "id"), &member.id) != ERR_OK ||
                          fields_decode(json, &member) != ERR_OK)) {
        err = errf(why, ERR_CORRUPT, "member: no id, or names and URLs that are none: %.*s",
                   (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
    }
    arena_fini(&arena);
    if (err != ERR_OK) {
        member_fini(&member);
        return err;
    }
    *out = member;
    return ERR_OK;
}

FALLIBLE member_decode_attributes(struct slice text, struct member *out, struct errbuf *why)
{
    struct arena arena;
    struct json *json = NULL;
    struct member member = {0};
    arena_init(&arena);
    enum err err = json_parse(&arena, text, &json, why);
    if (err == ERR_OK && (json->kind != JSON_OBJECT || fields_decode(json, &member) != ERR_OK)) {
        err = errf(why, ERR_CORRUPT, "member attributes: names or URLs that are none: %.*s",
                   (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
    }
    arena_fini(&arena);
    if (err != ERR_OK) {
        member_fini(&member);
        return err;
    }
    *out = member;
    return ERR_OK;
}

/* Membership as a v2 store document.
 *
 * etcd up to 3.7 keeps this JSON inside every .snap file, and 3.4 and 3.5 recover the membership
 * from it, so it must be there whether or not anyone uses the v2 API:
 *
 *   {"Root": node, "WatcherHub": …, "CurrentIndex": n, "Stats": …, "CurrentVersion": 2}
 *   node: {"Path","CreatedIndex","ModifiedIndex","ExpireTime","Value","Children"}
 *
 *   /0/members/<16 hex digits>/raftAttributes   {"peerURLs":[…],"isLearner":true?}
 *   /0/members/<16 hex digits>/attributes       {"name":"…","clientURLs":[…]}
 *   /0/removed_members/<16 hex digits>          a file with an empty value
 *   /0/version                                  "3.4.0"
 *   /1                                          the keys of the v2 API
 *
 * Readers use Root and CurrentIndex; the history of events may be empty. */
#include "state/member.h"

#include "base/mem.h"
#include "codec/json.h"

#include <inttypes.h>
#include <stdio.h>

#define HISTORY_CAPACITY 1000

static void node_open(struct buf *out, const char *path, uint64_t index, struct slice value)
{
    buf_append_str(out, "{\"Path\":");
    json_append_string(out, slice_str(path));
    buf_printf(out,
               ",\"CreatedIndex\":%" PRIu64 ",\"ModifiedIndex\":%" PRIu64
               ",\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":",
               index, index);
    json_append_string(out, value);
    buf_append_str(out, ",\"Children\":");
}

static void node_file(struct buf *out, const char *name, const char *path, uint64_t index,
                      struct slice value)
{
    json_append_string(out, slice_str(name));
    buf_append_byte(out, ':');
    node_open(out, path, index, value);
    buf_append_str(out, "null}");
}

static void member_encode(struct buf *out, const struct member *member, uint64_t index)
{
    struct buf text = {0};
    char path[96];
    snprintf(path, sizeof(path), "/0/members/%" PRIx64, member->id);
    buf_printf(out, "\"%" PRIx64 "\":", member->id);
    node_open(out, path, index, SLICE_EMPTY);
    buf_append_byte(out, '{');
    if (member->name[0] != '\0' || member->client_urls.count > 0) {
        snprintf(path, sizeof(path), "/0/members/%" PRIx64 "/attributes", member->id);
        member_encode_attributes(member, &text);
        node_file(out, "attributes", path, index, buf_slice(&text));
        buf_append_byte(out, ',');
    }
    buf_reset(&text);
    member_encode_raft_attributes(member, &text);
    snprintf(path, sizeof(path), "/0/members/%" PRIx64 "/raftAttributes", member->id);
    node_file(out, "raftAttributes", path, index, buf_slice(&text));
    buf_append_str(out, "}}");
    buf_fini(&text);
}

static void removed_encode(struct buf *out, const struct member_set *set, uint64_t index)
{
    buf_append_str(out, ",\"removed_members\":");
    node_open(out, "/0/removed_members", index, SLICE_EMPTY);
    buf_append_byte(out, '{');
    for (size_t i = 0; i < member_set_removed_count(set); i++) {
        char name[24];
        char path[64];
        snprintf(name, sizeof(name), "%" PRIx64, member_set_removed_at(set, i));
        snprintf(path, sizeof(path), "/0/removed_members/%s", name);
        if (i > 0) {
            buf_append_byte(out, ',');
        }
        node_file(out, name, path, index, SLICE_EMPTY);
    }
    buf_append_str(out, "}}");
}

static void cluster_encode(struct buf *out, const struct member_set *set, uint64_t index)
{
    node_open(out, "/0", index, SLICE_EMPTY);
    buf_append_str(out, "{\"members\":");
    node_open(out, "/0/members", index, SLICE_EMPTY);
    buf_append_byte(out, '{');
    for (size_t i = 0; i < member_set_count(set); i++) {
        if (i > 0) {
            buf_append_byte(out, ',');
        }
        member_encode(out, member_set_at(set, i), index);
    }
    buf_append_str(out, "}}");
    if (member_set_removed_count(set) > 0) {
        removed_encode(out, set, index);
    }
    const char *version = member_set_cluster_version(set);
    if (version[0] != '\0') {
        buf_append_byte(out, ',');
        node_file(out, "version", "/0/version", index, slice_str(version));
    }
    buf_append_str(out, "}}");
}

void member_set_encode_v2(const struct member_set *set, uint64_t index, struct buf *out)
{
    buf_append_str(out, "{\"Root\":");
    node_open(out, "/", 0, SLICE_EMPTY);
    buf_append_str(out, "{\"0\":");
    cluster_encode(out, set, index);
    buf_append_str(out, ",\"1\":");
    node_open(out, "/1", 0, SLICE_EMPTY);
    buf_append_str(out, "{}}}},\"WatcherHub\":{\"EventHistory\":{\"Queue\":{\"Events\":[null");
    for (size_t i = 1; i < HISTORY_CAPACITY; i++) {
        buf_append_str(out, ",null");
    }
    buf_printf(out,
               "],\"Size\":0,\"Front\":0,\"Back\":0,\"Capacity\":%d},\"StartIndex\":%" PRIu64
               ",\"LastIndex\":%" PRIu64 "}},\"CurrentIndex\":%" PRIu64,
               HISTORY_CAPACITY, index, index, index);
    static const char *const stats[] = {
        "getsSuccess",
        "getsFail",
        "setsSuccess",
        "setsFail",
        "deleteSuccess",
        "deleteFail",
        "updateSuccess",
        "updateFail",
        "createSuccess",
        "createFail",
        "compareAndSwapSuccess",
        "compareAndSwapFail",
        "compareAndDeleteSuccess",
        "compareAndDeleteFail",
        "expireCount",
        "watchers",
    };
    buf_append_str(out, ",\"Stats\":{");
    for (size_t i = 0; i < ARRAY_LEN(stats); i++) {
        buf_printf(out, "%s\"%s\":0", i == 0 ? "" : ",", stats[i]);
    }
    buf_append_str(out, "},\"CurrentVersion\":2}");
}

/* The child directory or file of that name, or NULL. */
static const struct json *child(const struct json *node, const char *name)
{
    return json_get(json_get(node, "Children"), name);
}

static FALLIBLE member_decode(struct member_set *set, const struct json *node, struct errbuf *why)
{
    struct member attributes = {0};
    struct member member = {0};
    struct slice raft =
        json_string_or(json_get(child(node, "raftAttributes"), "Value"), SLICE_EMPTY);
    struct slice own = json_string_or(json_get(child(node, "attributes"), "Value"), SLICE("{}"));
    enum err err = member_decode_attributes(raft, &member, why);
    if (err == ERR_OK) {
        err = member_decode_attributes(own, &attributes, why);
    }
    if (err == ERR_OK && slice_hex_to_u64(node->key, &member.id) != ERR_OK) {
        err = errf(why, ERR_CORRUPT, "v2 store: a member's name is no id");
    }
    if (err == ERR_OK) {
        mem_free(member.name);
        member.name = attributes.name;
        member.client_urls = attributes.client_urls;
        attributes.name = NULL;
        attributes.client_urls = (struct member_urls){0};
        err = member_set_add(set, &member);
    }
    member_fini(&attributes);
    member_fini(&member);
    return err;
}

static FALLIBLE cluster_decode(struct member_set *set, const struct json *cluster,
                               struct errbuf *why)
{
    const struct json *removed = json_get(child(cluster, "removed_members"), "Children");
    const struct json *members = json_get(child(cluster, "members"), "Children");
    if (members != NULL && members->kind == JSON_OBJECT) {
        for (const struct json *node = members->children.first; node != NULL; node = node->next) {
            TRY(member_decode(set, node, why));
        }
    }
    if (removed != NULL && removed->kind == JSON_OBJECT) {
        for (const struct json *node = removed->children.first; node != NULL; node = node->next) {
            member_id id;
            if (slice_hex_to_u64(node->key, &id) != ERR_OK || member_set_find(set, id) != NULL) {
                return errf(why, ERR_CORRUPT, "v2 store: a removed member's name is no free id");
            }
            enum err gone = member_set_remove(set, id);
            ASSERT(gone == ERR_NOT_FOUND);
        }
    }
    struct slice version =
        json_string_or(json_get(child(cluster, "version"), "Value"), SLICE_EMPTY);
    if (version.len > 32) {
        return errf(why, ERR_CORRUPT, "v2 store: the cluster version is none");
    }
    member_set_version(set, version);
    return ERR_OK;
}

FALLIBLE member_set_decode_v2(struct member_set *set, struct slice text, struct errbuf *why)
{
    struct arena arena;
    struct json *json = NULL;
    arena_init(&arena);
    enum err err = json_parse(&arena, text, &json, why);
    if (err == ERR_OK) {
        const struct json *root = json_get(json, "Root");
        const struct json *keys = json_get(child(root, "1"), "Children");
        if (root == NULL || child(root, "0") == NULL) {
            err = errf(why, ERR_CORRUPT, "v2 store: the document has no cluster tree");
        } else if (keys != NULL && keys->kind == JSON_OBJECT && keys->children.count > 0) {
            err = errf(why, ERR_UNSUPPORTED,
                       "the data directory holds keys of the v2 API, which this version does not "
                       "serve yet; migrate them to v3 with the etcd that wrote them");
        } else {
            err = cluster_decode(set, child(root, "0"), why);
        }
    }
    arena_fini(&arena);
    return err;
}

/* Entries: how requests become entries of the log, and what an entry does when it is applied.
 *
 * A normal entry is one of
 *
 *   empty                 a leader's first, which changes nothing
 *   InternalRaftRequest   what clients do to keys, leases, users, alarms
 *   Request (bare)        the v2 form: members publish their names and URLs, and the cluster its
 *                         version, in it, because etcd 3.4 knows no other and 3.5 and 3.6 read it
 *
 * A bare Request is told apart as etcd does: by not being the other. Its second field is its
 * method, a string; InternalRaftRequest has none there any more.
 *
 * Entries up to the consistent index of the database have done their work on it already; of them
 * only what lives in memory (membership) is repeated. Everything an entry does to the database,
 * and its index, go to disk in one transaction (storage/backend.h). */
#include "server/server_priv.h"

#include "base/failpoint.h"
#include "codec/pb.h"
#include "codec/pbwire.h"
#include "server/request_text.h"

#include "etcdserver.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- encoding ------------------------------------------------------------------------------- */

static uint32_t request_field(enum request_kind kind)
{
    switch (kind) {
    case REQUEST_PUT:
        return 4;
    case REQUEST_DELETE_RANGE:
        return 5;
    case REQUEST_TXN:
        return 6;
    case REQUEST_COMPACT:
        return 7;
    case REQUEST_LEASE_GRANT:
        return 8;
    case REQUEST_LEASE_REVOKE:
        return 9;
    case REQUEST_ALARM:
        return 10;
    case REQUEST_LEASE_CHECKPOINT:
        return 11;
    case REQUEST_LEASE_LIST:
    case REQUEST_LEASE_RENEW:
    case REQUEST_LEASE_TIME_TO_LIVE:
    case REQUEST_RANGE:
    case REQUEST_TXN_READ:
    case REQUEST_ALARM_LIST:
    case REQUEST_STATUS:
    case REQUEST_HASH:
    case REQUEST_HASH_KV:
    case REQUEST_DEFRAGMENT:
    case REQUEST_MEMBER_LIST:
    case REQUEST_KIND_COUNT:
        break;
    }
    UNREACHABLE();
}

/* The client's bytes behind a tag, then the header with the request's id: nothing is encoded that
 * was not encoded already. */
static struct raft_payload *envelope(struct server *server, uint32_t field, struct slice encoded)
{
    enum { HEADER = 100, HEADER_ID = 1 };
    uint64_t id = id_generator_next(&server->ids);
    size_t id_len = pbwire_uint_size(HEADER_ID, id);
    size_t len = pbwire_bytes_size(field, encoded.len) + pbwire_bytes_size(HEADER, id_len);
    struct raft_payload *payload = raft_payload_new(len);
    uint8_t *at = pbwire_put_bytes(payload->bytes, field, encoded);
    at = pbwire_put_head(at, HEADER, id_len);
    at = pbwire_put_uint(at, HEADER_ID, id);
    ASSERT(at == payload->bytes + len);
    return payload;
}

struct raft_payload *server__encode(struct server *server, const struct server_request *request)
{
    return envelope(server, request_field(request->kind), request->encoded);
}

struct raft_payload *server__encode_own(struct server *server, enum request_kind kind,
                                        const void *message)
{
    struct buf encoded = {0};
    pb_encode(message, &encoded);
    struct raft_payload *payload = envelope(server, request_field(kind), buf_slice(&encoded));
    buf_fini(&encoded);
    return payload;
}

struct raft_payload *server__encode_nospace(struct server *server)
{
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    alarm.memberid = server->member_id;
    alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    return server__encode_own(server, REQUEST_ALARM, &alarm);
}

/* A v2 "PUT path=value". Every scalar is written, as gogo does for proto2. */
static struct raft_payload *v2_put(struct server *server, char *path, char *value)
{
    static char put[] = "PUT";
    static char none[] = "";
    Etcdserverpb__Request request = ETCDSERVERPB__REQUEST__INIT;
    request.has_id = request.has_dir = request.has_previndex = request.has_expiration =
        request.has_wait = request.has_since = request.has_recursive = request.has_sorted =
            request.has_quorum = request.has_time = request.has_stream = true;
    request.id = id_generator_next(&server->ids);
    request.method = put;
    request.path = path;
    request.val = value;
    request.prevvalue = none;
    struct buf encoded = {0};
    pb_encode(&request, &encoded);
    struct raft_payload *payload = raft_payload_copy(buf_slice(&encoded));
    buf_fini(&encoded);
    return payload;
}

struct raft_payload *server__encode_publish(struct server *server)
{
    char path[64];
    struct buf value = {0};
    struct member self = {.id = server->member_id, .name = mem_strdup(server->config->name)};
    for (size_t i = 0; i < server->config->advertise_client_urls.count; i++) {
        member_urls_add(&self.client_urls,
                        slice_str(server->config->advertise_client_urls.items[i].text));
    }
    member_encode_attributes(&self, &value);
    snprintf(path, sizeof(path), "/0/members/%" PRIx64 "/attributes", server->member_id);
    buf_append_byte(&value, 0);
    struct raft_payload *payload = v2_put(server, path, (char *)value.data);
    buf_fini(&value);
    member_fini(&self);
    return payload;
}

struct raft_payload *server__encode_version(struct server *server)
{
    char path[] = "/0/version";
    char version[] = SERVER_FILES_VERSION;
    return v2_put(server, path, version);
}

void server__conf_state_json(const struct raft_conf_state *state, struct buf *out)
{
    const struct {
        const char *name;
        const struct raft_id_set *set;
    } sets[] = {
        {"voters", &state->voters},
        {"learners", &state->learners},
        {"voters_outgoing", &state->voters_outgoing},
        {"learners_next", &state->learners_next},
    };
    buf_append_byte(out, '{');
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        if (sets[i].set->count == 0) {
            continue;
        }
        buf_printf(out, "\"%s\":[", sets[i].name);
        for (size_t k = 0; k < sets[i].set->count; k++) {
            buf_printf(out, "%s%" PRIu64, k == 0 ? "" : ",", sets[i].set->ids[k]);
        }
        buf_append_str(out, "],");
    }
    buf_printf(out, "\"auto_leave\":%s}", state->auto_leave ? "true" : "false");
}

/* ---- membership ----------------------------------------------------------------------------- */

void server__member_rows_put(struct server *server, const struct member *member)
{
    char key[24];
    struct buf row = {0};
    snprintf(key, sizeof(key), "%" PRIx64, member->id);
    member_encode_row(member, &row);
    backend_put(server->backend, BUCKET_MEMBERS, slice_str(key), buf_slice(&row));
    buf_fini(&row);
}

static void member_rows_remove(struct server *server, member_id id)
{
    char key[24];
    snprintf(key, sizeof(key), "%" PRIx64, id);
    backend_delete(server->backend, BUCKET_MEMBERS, slice_str(key));
    backend_put(server->backend, BUCKET_MEMBERS_REMOVED, slice_str(key), SLICE("removed"));
}

/* What the change means to the membership; its context is a member's JSON, or nothing. */
static void apply_membership(struct server *server, const struct raft_conf_change *change,
                             bool writes)
{
    const struct raft_conf_change_single *single = &change->changes[0];
    struct member member = {0};
    struct errbuf why;
    enum err err = ERR_OK;
    if (change->change_count != 1 || single->node_id == 0) {
        return;
    }
    if (single->type == RAFT_CONF_REMOVE_NODE) {
        err = member_set_remove(server->members, single->node_id);
        if (writes && err == ERR_OK) {
            member_rows_remove(server, single->node_id);
        }
        return;
    }
    if (member_decode_row(change->context, &member, &why) != ERR_OK ||
        member.id != single->node_id) {
        member_fini(&member);
        return; /* raft's own changes carry none */
    }
    if (single->type == RAFT_CONF_UPDATE_NODE) {
        err = member_set_peer_urls(server->members, member.id, &member.peer_urls);
    } else if (member_set_find(server->members, member.id) != NULL) {
        err = member_set_promote(server->members, member.id);
    } else {
        err = member_set_add(server->members, &member);
        if (err == ERR_OK) {
            struct banner_member self = server__banner(server);
            banner_member_added(server->config, &self, member.id,
                                (const char *const *)(const void *)member.peer_urls.urls,
                                member.peer_urls.count, member.is_learner);
        }
    }
    const struct member *now = member_set_find(server->members, member.id);
    if (writes && err == ERR_OK && now != NULL) {
        server__member_rows_put(server, now);
    }
    member_fini(&member);
}

static void apply_conf_change(struct server *server, const struct raft_entry *entry, bool writes)
{
    struct raft_conf_change change;
    struct raft_conf_state state;
    struct buf json = {0};
    FAILPOINT(beforeApplyOneConfChange);
    if (raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change) !=
        ERR_OK) {
        fatal("log entry %" PRIu64 " is a membership change that cannot be read; the log is "
              "damaged: restore this member from a snapshot or replace it",
              entry->index);
    }
    if (raft_apply_conf_change(node_raft(server->node), &change, &state) == ERR_OK) {
        apply_membership(server, &change, writes);
    }
    server->conf_state = state;
    server__conf_state_json(&state, &json);
    if (writes) {
        backend_set_conf_state(server->backend, buf_slice(&json));
    }
    buf_fini(&json);
}

/* ---- v2 requests ---------------------------------------------------------------------------- */

/* A member publishes its name and client URLs. */
static void apply_attributes(struct server *server, member_id id, struct slice name,
                             const struct member_urls *client_urls, bool writes)
{
    enum err err = member_set_attributes(server->members, id, name, client_urls);
    const struct member *member = member_set_find(server->members, id);
    if (err == ERR_OK && writes) {
        server__member_rows_put(server, member);
    }
    if (writes && id == server->member_id && server->is_publishing) {
        struct banner_member self = server__banner(server);
        banner_published(server->config, &self);
        server__ready(server);
    }
}

static void apply_v2_attributes(struct server *server, member_id id, struct slice json, bool writes)
{
    struct member attributes = {0};
    struct errbuf why;
    if (member_decode_attributes(json, &attributes, &why) != ERR_OK) {
        fatal("the log holds member attributes that cannot be read (%s); restore this member from "
              "a snapshot or replace it",
              why.text);
    }
    apply_attributes(server, id, slice_str(attributes.name), &attributes.client_urls, writes);
    member_fini(&attributes);
}

static void apply_v3_attributes(struct server *server,
                                const Membershippb__ClusterMemberAttrSetRequest *set)
{
    const Membershippb__Attributes *attributes = set->member_attributes;
    struct member_urls urls = {0};
    if (attributes == NULL) {
        return;
    }
    for (size_t i = 0; i < attributes->n_client_urls; i++) {
        member_urls_add(&urls, slice_str(attributes->client_urls[i]));
    }
    apply_attributes(server, set->member_id, slice_str(attributes->name), &urls, true);
    member_urls_fini(&urls);
}

static void apply_version(struct server *server, struct slice version, bool writes)
{
    member_set_version(server->members, version);
    if (writes) {
        backend_put(server->backend, BUCKET_CLUSTER, SLICE("clusterVersion"), version);
    }
    struct banner_member self = server__banner(server);
    char *minor = arena_strndup(&server->scratch, (const char *)version.data, version.len);
    char *patch = strrchr(minor, '.');
    if (patch != NULL) {
        *patch = '\0'; /* "3.4.0" is shown as "3.4" */
    }
    banner_cluster_version(server->config, &self, minor);
}

/* "/0/members/<hex id>/attributes" */
static bool attributes_path(const char *path, member_id *out)
{
    static const char prefix[] = "/0/members/";
    struct slice rest = slice_str(path);
    struct slice id;
    if (!slice_starts(rest, slice_str(prefix))) {
        return false;
    }
    rest = slice_split(slice_skip(rest, strlen(prefix)), '/', &id);
    return slice_eq_str(rest, "attributes") && slice_hex_to_u64(id, out) == ERR_OK;
}

static void apply_v2(struct server *server, const Etcdserverpb__Request *request, raft_index index,
                     bool writes)
{
    member_id id;
    if (strcmp(request->method, "SYNC") == 0 || strcmp(request->method, "QGET") == 0) {
        return; /* expires keys of the v2 API, of which there are none; or reads one */
    }
    if (request->path == NULL || request->val == NULL) {
        fatal("log entry %" PRIu64 " is a %s through the v2 API without a path or a value; the log "
              "is damaged: restore this member from a snapshot or replace it",
              index, request->method);
    }
    if (strcmp(request->method, "PUT") == 0 && attributes_path(request->path, &id)) {
        apply_v2_attributes(server, id, slice_str(request->val), writes);
        return;
    }
    if (strcmp(request->method, "PUT") == 0 && strcmp(request->path, "/0/version") == 0) {
        apply_version(server, slice_str(request->val), writes);
        return;
    }
    fatal("log entry %" PRIu64 " is a %s of %s through the v2 API, which this version does not "
          "serve yet; start the etcd that wrote this directory and migrate its v2 keys",
          index, request->method, request->path);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Compatibility: from cluster version 3.6 on, or when asked to. A cluster of one keeps them always:
 * what each member does at an entry is told by the membership at that entry. */
static bool keeps_checkpoints(const struct server *server)
{
    unsigned major = 0;
    unsigned minor = 0;
    const char *version = member_set_cluster_version(server->members);
    return server->config->gates[CONFIG_GATE_LEASE_CHECKPOINT_PERSIST] ||
           server__is_alone(server) ||
           (sscanf(version, "%u.%u", &major, &minor) == 2 &&
            (major > 3 || (major == 3 && minor >= 6)));
}

static void spend(struct server *server, uint64_t units)
{
    server->left.apply -= units < server->left.apply ? units : server->left.apply;
}

/* Besides what every entry costs: a million leases lie in memory far apart. A grant among them
 * takes 3 us, with the proposing of the next one, which comes in the same turn. */
enum { GRANT_UNITS = 40, CHECKPOINT_UNITS = 15 };

static void apply_checkpoints(struct server *server,
                              const Etcdserverpb__LeaseCheckpointRequest *request)
{
    spend(server, CHECKPOINT_UNITS * request->n_checkpoints);
    apply_lease_checkpoint(server->apply, request, keeps_checkpoints(server));
}

static enum status dispatch(struct server *server, enum request_kind kind, const void *message,
                            struct arena *arena, struct slice *reply)
{
    switch (kind) {
    case REQUEST_PUT:
        return apply_put(server->apply, message, arena, reply);
    case REQUEST_COMPACT:
        return apply_compact(server->apply, message, arena, reply);
    case REQUEST_ALARM:
        return apply_alarm(server->apply, message, arena, reply);
    case REQUEST_LEASE_GRANT:
        spend(server, GRANT_UNITS);
        return apply_lease_grant(server->apply, message, arena, reply);
    case REQUEST_LEASE_CHECKPOINT:
        apply_checkpoints(server, message);
        return STATUS_OK;
    case REQUEST_TXN: /* server_work.c, and the next two */
    case REQUEST_DELETE_RANGE:
    case REQUEST_LEASE_REVOKE:
    case REQUEST_LEASE_LIST:
    case REQUEST_LEASE_RENEW:
    case REQUEST_LEASE_TIME_TO_LIVE:
    case REQUEST_RANGE:
    case REQUEST_TXN_READ:
    case REQUEST_ALARM_LIST:
    case REQUEST_STATUS:
    case REQUEST_HASH:
    case REQUEST_HASH_KV:
    case REQUEST_DEFRAGMENT:
    case REQUEST_MEMBER_LIST:
    case REQUEST_KIND_COUNT:
        break;
    }
    UNREACHABLE();
}

/* After a write, whoever asked for it: what the member itself has to do about it. */
static void follow_up(struct server *server, enum request_kind kind, const void *message,
                      enum status status)
{
    if (status == STATUS_NO_SPACE && !alarms_any(server->alarms, ALARM_NOSPACE)) {
        server__raise_nospace(server); /* it was applied, and found the quota exceeded */
    }
    if (kind == REQUEST_COMPACT && status == STATUS_OK) {
        server__compact_soon(server);
    }
    if (kind == REQUEST_ALARM) {
        const Etcdserverpb__AlarmRequest *alarm = message;
        if (alarm->memberid == server->member_id &&
            alarm->alarm == ETCDSERVERPB__ALARM_TYPE__NOSPACE) {
            server->nospace_proposed =
                alarm->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
        }
    }
}

/* etcd's line, and behind its fields ours: where the time of the request went before. */
static void warn_slow(struct server *server, const struct server_done *done, uint64_t took_ns)
{
    struct buf request = {0};
    struct buf response = {0};
    struct request_times times = {0};
    if (done->request != NULL) {
        times = request_times(done->request, 0);
    }
    request_text(done->kind, done->message, &request);
    buf_printf(&response, "size:%" PRIu64, done->reply_len);
    LOG_WARN(&server->log, "apply request took too long", log_duration("took", (int64_t)took_ns),
             log_duration("expected-duration", server->config->warning_apply_duration_ns),
             log_str("prefix", ""), log_slice("request", buf_slice(&request)),
             log_slice("response", buf_slice(&response)),
             log_error(done->status == STATUS_OK ? NULL : status_row(done->status)->text),
             log_duration("queue", (int64_t)times.queue), log_duration("sync", (int64_t)times.sync),
             log_duration("apply", (int64_t)took_ns));
    buf_fini(&request);
    buf_fini(&response);
}

void server__applied(struct server *server, const struct server_done *done)
{
    mono_ns ended = env_now_mono(server->options.env);
    uint64_t took = ended - done->began;
    if (done->request != NULL) {
        done->request->began_at = done->began;
        done->request->ended_at = ended;
    }
    server_metrics_applied(server->metrics, done->kind, done->status == STATUS_OK, took);
    if ((int64_t)took > server->config->warning_apply_duration_ns) {
        warn_slow(server, done, took);
    }
    follow_up(server, done->kind, done->message, done->status);
}

/* `request` is NULL when nobody waits for it. */
static enum status apply_request(struct server *server, struct server_request *request,
                                 enum request_kind kind, const void *message, struct arena *arena,
                                 struct slice *reply)
{
    struct server_done done = {
        .kind = kind,
        .message = message,
        .request = request,
        .began = env_now_mono(server->options.env),
    };
    *reply = SLICE_EMPTY;
    done.status = dispatch(server, kind, message, arena, reply);
    done.reply_len = reply->len;
    server__applied(server, &done);
    return done.status;
}

/* The proposer's own request: applied as it was decoded, and answered. */
static void apply_attached(struct server *server, struct server_request *request)
{
    if (request->kind == REQUEST_TXN || request->kind == REQUEST_DELETE_RANGE ||
        request->kind == REQUEST_LEASE_REVOKE) {
        server__entry_begin(server, request, request->kind, request->message, request->arena);
        return;
    }
    enum status status = apply_request(server, request, request->kind, request->message,
                                       request->arena, &request->reply);
    if (request->kind == REQUEST_COMPACT && status == STATUS_OK) {
        const Etcdserverpb__CompactionRequest *message = request->message;
        if (message->physical) {
            server__detach(request);
            request->state = REQUEST_REMOVING;
            list_del(&request->link);
            list_add_tail(&server->compacting, &request->link);
            return;
        }
    }
    server__finish(server, request, status);
}

/* A request that nobody here waits for. */
static void apply_decoded(struct server *server, const Etcdserverpb__InternalRaftRequest *request,
                          raft_index index)
{
    struct slice reply;
    struct arena *arena = &server->scratch;
    if (request->put != NULL) {
        apply_request(server, NULL, REQUEST_PUT, request->put, arena, &reply);
    } else if (request->delete_range != NULL) {
        server__entry_begin(server, NULL, REQUEST_DELETE_RANGE, request->delete_range, arena);
    } else if (request->txn != NULL) {
        server__entry_begin(server, NULL, REQUEST_TXN, request->txn, arena);
    } else if (request->compaction != NULL) {
        apply_request(server, NULL, REQUEST_COMPACT, request->compaction, arena, &reply);
    } else if (request->alarm != NULL) {
        apply_request(server, NULL, REQUEST_ALARM, request->alarm, arena, &reply);
    } else if (request->lease_grant != NULL) {
        apply_request(server, NULL, REQUEST_LEASE_GRANT, request->lease_grant, arena, &reply);
    } else if (request->lease_revoke != NULL) {
        server__entry_begin(server, NULL, REQUEST_LEASE_REVOKE, request->lease_revoke, arena);
    } else if (request->lease_checkpoint != NULL) {
        apply_request(server, NULL, REQUEST_LEASE_CHECKPOINT, request->lease_checkpoint, arena,
                      &reply);
    } else if (request->range != NULL || request->authenticate != NULL ||
               request->auth_status != NULL || request->auth_user_get != NULL ||
               request->auth_user_list != NULL || request->auth_role_get != NULL ||
               request->auth_role_list != NULL || request->downgrade_version_test != NULL) {
        return; /* reads and tokens that went through the log change nothing on disk */
    } else if (request->cluster_version_set != NULL) {
        apply_version(server, slice_str(request->cluster_version_set->ver), true);
    } else if (request->cluster_member_attr_set != NULL) {
        apply_v3_attributes(server, request->cluster_member_attr_set);
    } else {
        fatal("log entry %" PRIu64 " needs users or roles, which this version does not apply yet; "
              "start the etcd that wrote this directory and stop it cleanly",
              index);
    }
}

/* Is it a bare v2 Request? Its second field is one of the methods. */
static bool is_v2(struct slice bytes)
{
    static const char *const methods[] = {"PUT", "SYNC", "DELETE", "POST", "GET", "QGET"};
    struct pbwire_iter it = pbwire_iter_init(bytes);
    struct pbwire_field field;
    while (pbwire_next(&it, &field)) {
        if (field.number != 2 || field.type != PBWIRE_BYTES) {
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
            if (slice_eq_str(field.bytes, methods[i])) {
                return true;
            }
        }
    }
    return false;
}

static void apply_bytes(struct server *server, const struct raft_entry *entry, bool writes)
{
    struct slice bytes = raft_payload_slice(entry->payload);
    struct errbuf why = {""};
    enum err err;
    arena_reset(&server->scratch);
    if (is_v2(bytes)) {
        Etcdserverpb__Request *v2 = NULL;
        err = pb_decode_limits(&server->scratch, &etcdserverpb__request__descriptor, bytes,
                               PB_LIMITS_NONE, &v2, &why);
        if (err == ERR_OK) {
            apply_v2(server, v2, entry->index, writes);
        }
    } else if (writes) {
        Etcdserverpb__InternalRaftRequest *request = NULL;
        err = pb_decode_limits(&server->scratch, &etcdserverpb__internal_raft_request__descriptor,
                               bytes, PB_LIMITS_NONE, &request, &why);
        if (err == ERR_OK) {
            apply_decoded(server, request, entry->index);
        }
    } else {
        return;
    }
    if (err != ERR_OK) {
        fatal("log entry %" PRIu64 " is no request (%s); the log is damaged: restore this member "
              "from a snapshot or replace it",
              entry->index, why.text);
    }
}

/* The entry that was begun is done. */
static void entry_end(struct server *server, raft_index index, raft_term term)
{
    if (backend_is_applying(server->backend)) {
        backend_end(server->backend, index, term);
    }
    server->applied = index;
    server->applied_term = term;
}

/* What an entry costs, in units of work: most of it is the same for all. */
static void spend_entry(struct server *server, const struct raft_entry *entry)
{
    enum { ENTRY_UNITS = 8, BYTES_PER_UNIT = 256 };
    uint64_t len = entry->payload == NULL ? 0 : entry->payload->len;
    spend(server, ENTRY_UNITS + len / BYTES_PER_UNIT);
}

/* False: it is begun and goes on in the next turn. */
static bool apply_entry(struct server *server, const struct raft_entry *entry)
{
    bool writes = entry->index > backend_consistent_index(server->backend);
    ASSERT(entry->index == server->applied + 1);
    spend_entry(server, entry);
    if (writes) {
        backend_begin(server->backend);
    }
    if (entry->type != RAFT_ENTRY_NORMAL) {
        apply_conf_change(server, entry, writes);
    } else if (entry->payload != NULL && entry->payload->len > 0) {
        struct server_request *request = entry->payload->attached;
        if (request != NULL && writes) {
            apply_attached(server, request);
        } else {
            apply_bytes(server, entry, writes);
        }
    }
    if (server->entry.is_on) {
        return false;
    }
    entry_end(server, entry->index, entry->term);
    return true;
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* The backlog holds what a turn had no work left for. Its first entry may be begun already. */

static void backlog_add(struct server *server, const struct raft_entry *entry)
{
    struct server_backlog *backlog = &server->backlog;
    if (backlog->count == backlog->cap) {
        backlog->cap = backlog->cap == 0 ? 64 : 2 * backlog->cap;
        backlog->entries =
            mem_realloc(backlog->entries, backlog->cap * sizeof(backlog->entries[0]));
    }
    struct raft_entry *kept = &backlog->entries[backlog->count++];
    *kept = *entry;
    if (kept->payload != NULL) {
        kept->payload = raft_payload_ref(kept->payload);
    }
}

static void backlog_pop(struct server *server)
{
    struct server_backlog *backlog = &server->backlog;
    struct raft_entry *entry = &backlog->entries[backlog->first++];
    raft_payload_unref(&entry->payload);
    if (backlog->first == backlog->count) {
        server__backlog_free(server);
    }
}

void server__backlog_free(struct server *server)
{
    struct server_backlog *backlog = &server->backlog;
    for (size_t i = backlog->first; i < backlog->count; i++) {
        raft_payload_unref(&backlog->entries[i].payload);
    }
    mem_free(backlog->entries);
    *backlog = (struct server_backlog){0};
}

bool server__is_applying(const struct server *server)
{
    return server->backlog.count > 0;
}

void server__continue_entries(struct server *server)
{
    struct server_backlog *backlog = &server->backlog;
    raft_index before = server->applied;
    while (backlog->count > 0 && server->left.apply > 0) {
        struct raft_entry entry = backlog->entries[backlog->first];
        if (server->entry.is_on) {
            if (!server__entry_step(server)) {
                break;
            }
            entry_end(server, entry.index, entry.term);
        } else if (!apply_entry(server, &entry)) {
            break;
        }
        backlog_pop(server);
    }
    if (server->applied != before) {
        node_applied(server->node, server->applied);
        snapshotter_applied(server->snapshotter);
        server__kick(server); /* raft may have more now */
    }
    if (server__is_applying(server)) {
        server__kick(server);
    }
}

raft_index server__apply_entries(void *ctx, const struct raft_entry *entries, size_t count)
{
    struct server *server = ctx;
    size_t i = 0;
    while (i < count && !server__is_applying(server) && server->left.apply > 0) {
        if (!apply_entry(server, &entries[i])) {
            break;
        }
        i++;
    }
    for (; i < count; i++) {
        backlog_add(server, &entries[i]);
    }
    if (server__is_applying(server)) {
        server__kick(server);
    }
    snapshotter_applied(server->snapshotter);
    return server->applied;
}

#include "codec/raftpb.h"

#include "unit.h"

#include <stdio.h>

static struct buf hex(const char *text)
{
    struct buf out = {0};
    for (const char *at = text; *at != '\0'; at++) {
        unsigned byte;
        if (*at == ' ') {
            continue;
        }
        assert_int_equal(sscanf(at, "%2x", &byte), 1);
        buf_append_byte(&out, (uint8_t)byte);
        at++;
    }
    return out;
}

#define ENCODED(kind, value, text)                                                                 \
    do {                                                                                           \
        struct buf expected_ = hex(text);                                                          \
        struct buf got_ = {0};                                                                     \
        size_t size_ = raftpb_##kind##_size(value);                                                \
        uint8_t *end_ = raftpb_##kind##_put(buf_extend(&got_, size_), value);                      \
        assert_ptr_equal(end_, got_.data + got_.len);                                              \
        assert_int_equal(got_.len, expected_.len);                                                 \
        assert_memory_equal(got_.data, expected_.data, expected_.len);                             \
        buf_fini(&expected_);                                                                      \
        buf_fini(&got_);                                                                           \
    } while (0)

TEST(raftpb, an_entry_writes_every_scalar_and_data_only_when_it_is_not_nil)
{
    struct raftpb_entry noop = {.term = 2, .index = 3};
    ENCODED(entry, &noop, "08 00 10 02 18 03"); /* captured from etcd 3.5 */
    struct raftpb_entry empty = {.term = 2, .index = 3, .data = SLICE("")};
    ENCODED(entry, &empty, "08 00 10 02 18 03 22 00");
    struct raftpb_entry full = {.type = 1, .term = 300, .index = 1, .data = SLICE("ab")};
    ENCODED(entry, &full, "08 01 10 ac 02 18 01 22 02 61 62");
}

TEST(raftpb, a_heartbeat_is_byte_for_byte_etcds)
{
    struct raftpb_message beat = {.type = 8};
    ENCODED(message, &beat,
            "08 08 10 00 18 00 20 00 28 00 30 00 40 00 4a 0a 12 08 0a 02 28 00 10 00 18 00 50 00 "
            "58 00"); /* captured from etcd 3.5 */
}

TEST(raftpb, the_records_every_log_begins_with)
{
    struct raftpb_record crc = {.type = 4};
    ENCODED(record, &crc, "08 04 10 00");
    struct raftpb_wal_snapshot origin = {0};
    ENCODED(wal_snapshot, &origin, "08 00 10 00");
    struct raftpb_record snapshot = {.type = 5, .crc = 5, .data = SLICE("\x08\x00\x10\x00")};
    ENCODED(record, &snapshot, "08 05 10 05 1a 04 08 00 10 00");
    struct raftpb_metadata ids = {.node_id = 1, .cluster_id = 2};
    ENCODED(metadata, &ids, "08 01 10 02");
    struct raftpb_hard_state state = {.term = 1, .commit = 4};
    ENCODED(hard_state, &state, "08 01 10 00 18 04");
}

TEST(raftpb, a_snapshot_with_members)
{
    static const uint64_t voters[] = {1, 300};
    static const uint64_t learners[] = {7};
    struct raftpb_snapshot snapshot = {
        .data = SLICE("{}"),
        .metadata = {.conf_state = {.voters = {voters, 2}, .learners = {learners, 1}},
                     .index = 5,
                     .term = 2},
    };
    ENCODED(snapshot, &snapshot, "0a 02 7b 7d 12 0f 0a 09 08 01 08 ac 02 10 07 28 00 10 05 18 02");
    struct raftpb_wal_snapshot at = {
        .index = 5, .term = 2, .has_conf_state = true, .conf_state = snapshot.metadata.conf_state};
    ENCODED(wal_snapshot, &at, "08 05 10 02 1a 09 08 01 08 ac 02 10 07 28 00");
}

TEST(raftpb, conf_changes)
{
    struct raftpb_conf_change change = {
        .type = RAFTPB_REMOVE_NODE, .node_id = 9, .context = SLICE("c")};
    ENCODED(conf_change, &change, "08 00 10 01 18 09 22 01 63");
    static const struct raftpb_conf_change_single singles[] = {{0, 1}, {3, 2}};
    struct raftpb_conf_change_v2 v2 = {.transition = 1, .changes = singles, .change_count = 2};
    ENCODED(conf_change_v2, &v2, "08 01 12 04 08 00 10 01 12 04 08 03 10 02");
}

TEST(raftpb, a_negative_type_leaves_with_ten_bytes_and_comes_back)
{
    struct raftpb_entry odd = {.type = -1};
    ENCODED(entry, &odd, "08 ff ff ff ff ff ff ff ff ff 01 10 00 18 00");
    struct buf bytes = hex("08 ff ff ff ff ff ff ff ff ff 01");
    struct raftpb_entry back;
    assert_int_equal(raftpb_entry_decode(buf_slice(&bytes), &back), ERR_OK);
    assert_int_equal(back.type, -1);
    buf_fini(&bytes);
}

TEST(raftpb, a_message_comes_back_as_it_left)
{
    static const uint64_t voters[] = {1, 2, 3};
    static const struct raftpb_entry entries[] = {
        {.term = 4, .index = 10, .data = SLICE("one")},
        {.type = 1, .term = 4, .index = 11},
    };
    struct raftpb_message message = {
        .type = 3,
        .to = 2,
        .from = 1,
        .term = 4,
        .log_term = 3,
        .index = 9,
        .entries = entries,
        .entry_count = 2,
        .commit = 8,
        .snapshot = {.metadata = {.conf_state = {.voters = {voters, 3}, .auto_leave = true}}},
        .reject = true,
        .reject_hint = 6,
        .context = SLICE("ctx"),
    };
    struct arena arena;
    struct buf bytes = {0};
    arena_init(&arena);
    raftpb_message_put(buf_extend(&bytes, raftpb_message_size(&message)), &message);
    struct raftpb_message back;
    assert_int_equal(raftpb_message_decode(&arena, buf_slice(&bytes), &back), ERR_OK);
    assert_int_equal(back.entry_count, 2);
    assert_true(slice_eq_str(back.entries[0].data, "one"));
    assert_null(back.entries[1].data.data);
    assert_int_equal(back.snapshot.metadata.conf_state.voters.count, 3);
    assert_true(back.snapshot.metadata.conf_state.auto_leave);
    assert_true(back.reject);
    assert_true(slice_eq_str(back.context, "ctx"));
    struct buf again = {0};
    raftpb_message_put(buf_extend(&again, raftpb_message_size(&back)), &back);
    assert_true(slice_eq(buf_slice(&again), buf_slice(&bytes)));
    /* Every cut is refused or is a shorter message; none reads past the end. */
    for (size_t len = 0; len < bytes.len; len++) {
        enum err err = raftpb_message_decode(&arena, slice_of(bytes.data, len), &back);
        assert_true(err == ERR_OK || err == ERR_EOF);
    }
    buf_fini(&again);
    buf_fini(&bytes);
    arena_fini(&arena);
}

TEST(raftpb, absent_fields_are_zero_and_packed_numbers_are_read_too)
{
    struct arena arena;
    struct raftpb_conf_state state;
    struct raftpb_message message;
    arena_init(&arena);
    assert_int_equal(raftpb_message_decode(&arena, SLICE("\x08\x08"), &message), ERR_OK);
    assert_int_equal(message.type, 8);
    assert_int_equal(message.entry_count, 0);
    assert_int_equal(
        raftpb_conf_state_decode(&arena, SLICE("\x0a\x03\x01\xac\x02\x08\x07"), &state), ERR_OK);
    assert_int_equal(state.voters.count, 3);
    assert_int_equal(state.voters.ids[1], 300);
    assert_int_equal(state.voters.ids[2], 7);
    arena_fini(&arena);
}

TEST(raftpb, more_ids_than_any_cluster_has_are_refused)
{
    struct arena arena;
    struct raftpb_conf_state state;
    struct buf bytes = {0};
    arena_init(&arena);
    for (size_t i = 0; i <= RAFTPB_IDS_MAX; i++) {
        buf_append(&bytes, "\x08\x01", 2);
    }
    assert_int_equal(raftpb_conf_state_decode(&arena, buf_slice(&bytes), &state), ERR_CORRUPT);
    bytes.len -= 2;
    assert_int_equal(raftpb_conf_state_decode(&arena, buf_slice(&bytes), &state), ERR_OK);
    assert_int_equal(state.voters.count, RAFTPB_IDS_MAX);
    buf_fini(&bytes);
    arena_fini(&arena);
}

TEST(raftpb, wrong_wire_types_are_refused)
{
    struct arena arena;
    struct raftpb_entry entry;
    struct raftpb_hard_state state;
    struct raftpb_record record;
    struct raftpb_snapshot snapshot;
    arena_init(&arena);
    assert_int_equal(raftpb_entry_decode(SLICE("\x0a\x01x"), &entry), ERR_CORRUPT);
    assert_int_equal(raftpb_entry_decode(SLICE("\x20\x01"), &entry), ERR_CORRUPT);
    assert_int_equal(raftpb_hard_state_decode(SLICE("\x12\x01x"), &state), ERR_CORRUPT);
    assert_int_equal(raftpb_record_decode(SLICE("\x18\x01"), &record), ERR_CORRUPT);
    assert_int_equal(raftpb_snapshot_decode(&arena, SLICE("\x10\x01"), &snapshot), ERR_CORRUPT);
    assert_int_equal(raftpb_snapshot_decode(&arena, SLICE("\x12\x02\x0a\x05"), &snapshot), ERR_EOF);
    arena_fini(&arena);
}

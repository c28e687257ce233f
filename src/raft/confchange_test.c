#include "raft/tracker.h"

#include "unit.h"

#include <stdio.h>

static struct raft_conf_change change_of(enum raft_conf_transition transition, const char *words)
{
    struct raft_conf_change change = {.transition = transition};
    static const char letters[] = "vrul";
    for (const char *p = words; *p != '\0'; p += p[2] == ' ' ? 3 : 2) {
        change.changes[change.change_count++] = (struct raft_conf_change_single){
            .type = (enum raft_conf_change_type)(strchr(letters, p[0]) - letters),
            .node_id = (raft_id)(p[1] - '0'),
        };
    }
    return change;
}

/* The configuration after these changes, in words; "refused" if one does not fit. */
static const char *after(struct tracker_config *config, enum raft_conf_transition transition,
                         const char *words)
{
    static struct buf text;
    struct raft_conf_change change = change_of(transition, words);
    struct tracker_config next;
    if (tracker_config_change(config, &change, &next) != ERR_OK) {
        return "refused";
    }
    *config = next;
    buf_reset(&text);
    tracker_config_text(config, &text);
    static char kept[256];
    snprintf(kept, sizeof(kept), "%s", buf_cstr(&text));
    buf_fini(&text);
    return kept;
}

static struct tracker_config voters_123(void)
{
    return (struct tracker_config){.voters.incoming = {.count = 3, .ids = {1, 2, 3}}};
}

TEST(confchange, one_voter_at_a_time_or_a_joint_configuration)
{
    struct tracker_config c = voters_123();
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v4"), "voters=(1 2 3 4)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v4"), "voters=(1 2 3 4)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "r1"), "voters=(2 3 4)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "l5"), "voters=(2 3 4) learners=(5)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v5"), "voters=(2 3 4 5)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "l5"), "voters=(2 3 4) learners=(5)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "r9"), "voters=(2 3 4) learners=(5)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "u2"), "voters=(2 3 4) learners=(5)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "r5"), "voters=(2 3 4)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v1 r2"), "voters=(1 3 4)&&(2 3 4) autoleave");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v2"), "refused");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "v2 v5"), "refused");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, ""), "voters=(1 3 4)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, ""), "refused");
}

TEST(confchange, a_demoted_voter_becomes_a_learner_when_joint_ends)
{
    struct tracker_config c = voters_123();
    assert_string_equal(after(&c, RAFT_CONF_JOINT_EXPLICIT, "l3 v4"),
                        "voters=(1 2 4)&&(1 2 3) learners_next=(3)");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, ""), "voters=(1 2 4) learners=(3)");
    assert_string_equal(after(&c, RAFT_CONF_JOINT_IMPLICIT, "r3"),
                        "voters=(1 2 4)&&(1 2 4) autoleave");
}

TEST(confchange, somebody_must_be_left_to_vote)
{
    struct tracker_config c = {.voters.incoming = {.count = 1, .ids = {1}}};
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "r1"), "refused");
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "l1"), "refused");
    assert_string_equal(after(&c, RAFT_CONF_JOINT_EXPLICIT, "r1"), "refused");
    struct tracker_config empty = {0};
    assert_string_equal(after(&empty, RAFT_CONF_JOINT_EXPLICIT, "v1"), "refused");
    assert_string_equal(after(&empty, RAFT_CONF_AUTO, "v1"), "voters=(1)");
}

TEST(confchange, a_change_without_a_member_changes_nothing)
{
    struct tracker_config c = voters_123();
    assert_string_equal(after(&c, RAFT_CONF_AUTO, "r0"), "voters=(1 2 3)");
}

TEST(confchange, more_members_than_fit_are_refused)
{
    struct tracker_config c = {.voters.incoming = {.count = 1, .ids = {1}}};
    struct raft_conf_change change = {.change_count = 1};
    change.changes[0].type = RAFT_CONF_ADD_LEARNER_NODE;
    for (raft_id id = 2; id <= RAFT_MEMBERS_MAX; id++) {
        change.changes[0].node_id = id;
        assert_int_equal(tracker_config_change(&c, &change, &c), ERR_OK);
    }
    change.changes[0].node_id = 1000;
    struct tracker_config before = c;
    assert_int_equal(tracker_config_change(&c, &change, &c), ERR_INVALID);
    assert_memory_equal(&before, &c, sizeof(c));
}

TEST(confchange, progress_follows_the_configuration)
{
    struct tracker tracker;
    tracker_init(&tracker, 4, RAFT_NO_LIMIT);
    struct tracker_config c = voters_123();
    tracker_switch(&tracker, &c, 10);
    tracker_check(&tracker);
    tracker_find(&tracker, 2)->match = 9;
    after(&c, RAFT_CONF_AUTO, "v0 l5");
    c = voters_123();
    after(&c, RAFT_CONF_AUTO, "l5");
    tracker_switch(&tracker, &c, 20);
    tracker_check(&tracker);
    assert_int_equal(tracker.peer_count, 4);
    assert_int_equal(tracker_find(&tracker, 2)->match, 9);
    assert_int_equal(tracker_find(&tracker, 2)->next, 10);
    assert_int_equal(tracker_find(&tracker, 5)->next, 20);
    assert_true(tracker_find(&tracker, 5)->is_learner);
    after(&c, RAFT_CONF_AUTO, "r2");
    tracker_switch(&tracker, &c, 20);
    tracker_check(&tracker);
    assert_null(tracker_find(&tracker, 2));
    tracker_fini(&tracker);
}

TEST(confchange, bytes_are_those_of_etcd)
{
    struct buf bytes = {0};
    struct raft_conf_change change = {
        .is_v1 = true,
        .id = 300,
        .change_count = 1,
        .changes = {{.type = RAFT_CONF_ADD_LEARNER_NODE, .node_id = 7}},
        .context = SLICE("ctx"),
    };
    assert_int_equal(raft_conf_change_encode(&change, &bytes), RAFT_ENTRY_CONF_CHANGE);
    static const uint8_t v1[] = {0x08, 0xac, 0x02, 0x10, 3, 0x18, 7, 0x22, 3, 'c', 't', 'x'};
    assert_int_equal(bytes.len, sizeof(v1));
    assert_memory_equal(bytes.data, v1, sizeof(v1));
    struct raft_conf_change back;
    assert_int_equal(raft_conf_change_decode(RAFT_ENTRY_CONF_CHANGE, buf_slice(&bytes), &back),
                     ERR_OK);
    assert_true(back.is_v1);
    assert_int_equal(back.id, 300);
    assert_int_equal(back.changes[0].type, RAFT_CONF_ADD_LEARNER_NODE);
    assert_int_equal(back.changes[0].node_id, 7);
    assert_true(slice_eq_str(back.context, "ctx"));

    buf_reset(&bytes);
    change = change_of(RAFT_CONF_JOINT_EXPLICIT, "v1 r2");
    assert_int_equal(raft_conf_change_encode(&change, &bytes), RAFT_ENTRY_CONF_CHANGE_V2);
    static const uint8_t v2[] = {0x08, 2, 0x12, 4, 8, 0, 16, 1, 0x12, 4, 8, 1, 16, 2};
    assert_int_equal(bytes.len, sizeof(v2));
    assert_memory_equal(bytes.data, v2, sizeof(v2));
    assert_int_equal(raft_conf_change_decode(RAFT_ENTRY_CONF_CHANGE_V2, buf_slice(&bytes), &back),
                     ERR_OK);
    assert_int_equal(back.change_count, 2);
    assert_int_equal(back.transition, RAFT_CONF_JOINT_EXPLICIT);
    buf_fini(&bytes);
}

TEST(confchange, damaged_bytes_are_refused)
{
    static const struct {
        enum raft_entry_type type;
        struct slice bytes;
        enum err err;
    } cases[] = {
        {RAFT_ENTRY_NORMAL, {0}, ERR_INVALID},
        {RAFT_ENTRY_CONF_CHANGE, {(const uint8_t *)"\x10\x09", 2}, ERR_INVALID},
        {RAFT_ENTRY_CONF_CHANGE, {(const uint8_t *)"\x10", 1}, ERR_CORRUPT},
        {RAFT_ENTRY_CONF_CHANGE, {(const uint8_t *)"\x22\x05z", 3}, ERR_CORRUPT},
        {RAFT_ENTRY_CONF_CHANGE, {(const uint8_t *)"\x07", 1}, ERR_CORRUPT},
        {RAFT_ENTRY_CONF_CHANGE_V2, {(const uint8_t *)"\x08\x03", 2}, ERR_INVALID},
        {RAFT_ENTRY_CONF_CHANGE_V2, {(const uint8_t *)"\x12\x02\x08", 3}, ERR_CORRUPT},
        {RAFT_ENTRY_CONF_CHANGE_V2, {(const uint8_t *)"\x12\x01\x08", 3}, ERR_CORRUPT},
        {RAFT_ENTRY_CONF_CHANGE_V2, {(const uint8_t *)"\x12\x02\x08\x04", 4}, ERR_INVALID},
    };
    struct raft_conf_change change;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(raft_conf_change_decode(cases[i].type, cases[i].bytes, &change),
                         cases[i].err);
    }
    struct buf many = {0};
    for (int i = 0; i <= RAFT_CONF_CHANGES_MAX; i++) {
        buf_append(&many, "\x12\x02\x10\x01", 4);
    }
    assert_int_equal(raft_conf_change_decode(RAFT_ENTRY_CONF_CHANGE_V2, buf_slice(&many), &change),
                     ERR_TOO_LARGE);
    buf_fini(&many);
    /* Unknown fields are skipped, as protobuf asks. */
    assert_int_equal(
        raft_conf_change_decode(RAFT_ENTRY_CONF_CHANGE, SLICE("\x18\x05\x78\x01"), &change),
        ERR_OK);
    assert_int_equal(change.changes[0].node_id, 5);
}

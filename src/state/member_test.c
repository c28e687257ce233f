#include "state/member.h"

#include "unit.h"

#include "base/mem.h"

static void add(struct member_set *set, member_id id, const char *peer_url, bool is_learner)
{
    struct member member = {.id = id, .is_learner = is_learner};
    member_urls_add(&member.peer_urls, slice_str(peer_url));
    assert_int_equal(member_set_add(set, &member), ERR_OK);
    member_fini(&member);
}

TEST(member, members_stay_sorted_and_removed_ids_never_return)
{
    struct member_set *set = member_set_new(7);
    add(set, 30, "http://c:2380", false);
    add(set, 10, "http://a:2380", false);
    add(set, 20, "http://b:2380", true);
    member_set_check(set);
    assert_int_equal(member_set_at(set, 0)->id, 10);
    assert_int_equal(member_set_at(set, 2)->id, 30);
    struct member again = {.id = 20};
    assert_int_equal(member_set_add(set, &again), ERR_EXISTS);
    assert_int_equal(member_set_remove(set, 20), ERR_OK);
    assert_int_equal(member_set_add(set, &again), ERR_NOT_FOUND);
    assert_int_equal(member_set_remove(set, 99), ERR_NOT_FOUND);
    assert_true(member_set_is_removed(set, 99));
    member_set_check(set);
    assert_int_equal(member_set_count(set), 2);
    assert_null(member_set_find(set, 20));
    assert_int_equal(member_set_promote(set, 20), ERR_NOT_FOUND);
    member_set_free(&set);
    assert_null(set);
}

TEST(member, rows_are_written_as_etcd_writes_them_and_read_back)
{
    struct member member = {.id = 14841639068965178418u, .name = NULL, .is_learner = true};
    struct member back = {0};
    struct buf text = {0};
    member_urls_add(&member.peer_urls, SLICE("http://127.0.0.1:2380"));
    member_urls_add(&member.client_urls, SLICE("http://127.0.0.1:2379"));
    member_urls_add(&member.client_urls, SLICE("http://h:1"));
    struct member_set *set = member_set_new(1);
    assert_int_equal(member_set_add(set, &member), ERR_OK);
    struct member_urls urls = member.client_urls;
    assert_int_equal(member_set_attributes(set, member.id, SLICE("n\"1"), &urls), ERR_OK);
    member_encode_row(member_set_at(set, 0), &text);
    assert_string_equal(buf_cstr(&text),
                        "{\"id\":14841639068965178418,\"peerURLs\":[\"http://127.0.0.1:2380\"],"
                        "\"isLearner\":true,\"name\":\"n\\\"1\","
                        "\"clientURLs\":[\"http://127.0.0.1:2379\",\"http://h:1\"]}");
    assert_int_equal(member_decode_row(buf_slice(&text), &back, NULL), ERR_OK);
    assert_true(back.id == member.id);
    assert_string_equal(back.name, "n\"1");
    assert_true(back.is_learner);
    assert_int_equal(back.client_urls.count, 2);
    member_fini(&back);
    member_fini(&member);
    member_set_free(&set);
    buf_fini(&text);
}

TEST(member, rows_that_are_none_are_refused)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"id\":-1}",
        "{\"id\":\"1\"}",
        "{\"id\":1,\"peerURLs\":7}",
        "{\"id\":1,\"peerURLs\":[7]}",
        "{\"id\":1,\"name\":\"a\\u0000b\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct member out = {0};
        struct errbuf why = {""};
        assert_int_equal(member_decode_row(slice_str(bad[i]), &out, &why), ERR_CORRUPT);
        assert_int_not_equal(why.text[0], 0);
    }
}

TEST(member, the_v2_document_carries_the_whole_set)
{
    struct member_set *set = member_set_new(7);
    struct member_urls urls = {0};
    member_urls_add(&urls, SLICE("http://127.0.0.1:2379"));
    add(set, 0x8e9e05c52164694du, "http://localhost:2380", false);
    add(set, 5, "http://x:2380", true);
    assert_int_equal(member_set_attributes(set, 0x8e9e05c52164694du, SLICE("default"), &urls),
                     ERR_OK);
    assert_int_equal(member_set_remove(set, 77), ERR_NOT_FOUND);
    member_set_version(set, SLICE("3.4.0"));
    struct buf text = {0};
    member_set_encode_v2(set, 12, &text);
    assert_non_null(strstr(buf_cstr(&text), "\"/0/members/8e9e05c52164694d/attributes\""));

    struct member_set *back = member_set_new(7);
    assert_int_equal(member_set_decode_v2(back, buf_slice(&text), NULL), ERR_OK);
    member_set_check(back);
    assert_int_equal(member_set_count(back), 2);
    assert_string_equal(member_set_at(back, 1)->name, "default");
    assert_string_equal(member_set_at(back, 1)->client_urls.urls[0], "http://127.0.0.1:2379");
    assert_true(member_set_at(back, 0)->is_learner);
    assert_true(member_set_is_removed(back, 77));
    assert_string_equal(member_set_cluster_version(back), "3.4.0");
    struct buf again = {0};
    member_set_encode_v2(back, 12, &again);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&again)));
    buf_fini(&again);
    buf_fini(&text);
    member_urls_fini(&urls);
    member_set_free(&back);
    member_set_free(&set);
}

/* As Go prints an id. A padded name would be a second member to a Go etcd, which then writes the
 * attributes under the other one. */
TEST(member, ids_have_no_leading_zeros_in_the_v2_document)
{
    struct member_set *set = member_set_new(7);
    struct member member = {.id = 0x01786bd6eb94d8d2u, .name = mem_strdup("a")};
    struct buf text = {0};
    member_urls_add(&member.peer_urls, SLICE("http://127.0.0.1:2380"));
    assert_int_equal(member_set_add(set, &member), ERR_OK);
    assert_int_equal(member_set_remove(set, 0x0fu), ERR_NOT_FOUND);
    member_set_encode_v2(set, 12, &text);
    assert_non_null(strstr(buf_cstr(&text), "\"1786bd6eb94d8d2\":"));
    assert_non_null(strstr(buf_cstr(&text), "\"/0/members/1786bd6eb94d8d2\""));
    assert_non_null(strstr(buf_cstr(&text), "\"/0/members/1786bd6eb94d8d2/attributes\""));
    assert_non_null(strstr(buf_cstr(&text), "\"/0/members/1786bd6eb94d8d2/raftAttributes\""));
    assert_non_null(strstr(buf_cstr(&text), "\"/0/removed_members/f\""));
    assert_null(strstr(buf_cstr(&text), "01786bd6eb94d8d2"));
    buf_fini(&text);
    member_fini(&member);
    member_set_free(&set);
}

TEST(member, v2_keys_are_refused_not_lost)
{
    struct member_set *set = member_set_new(7);
    struct errbuf why;
    assert_int_equal(
        member_set_decode_v2(set,
                             SLICE("{\"Root\":{\"Children\":{\"0\":{\"Children\":{}},"
                                   "\"1\":{\"Children\":{\"foo\":{\"Value\":\"bar\"}}}}}}"),
                             &why),
        ERR_UNSUPPORTED);
    assert_non_null(strstr(why.text, "v2 API"));
    assert_int_equal(member_set_decode_v2(set, SLICE("{\"Root\":{}}"), &why), ERR_CORRUPT);
    assert_int_equal(member_set_decode_v2(set, SLICE("{"), &why), ERR_CORRUPT);
    member_set_free(&set);
}

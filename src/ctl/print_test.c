/* The captures of reference/cli.md (3.5.30), with what 3.6 prints differently: no "Revision" line
 * when it is 0, more columns of endpoint status and hashkv, ASCII frames. The answers go through
 * the decoder, as they do in the program. */
#include "ctl/print.h"

#include "base/mem.h"
#include "codec/pb.h"
#include "ctl/table.h"

#include "unit.h"

struct fixture {
    struct arena arena;
    struct buf bytes;
    struct buf out;
    struct buf err;
    struct printer printer;
};

static void begin(struct fixture *f, enum print_format format, bool is_hex)
{
    *f = (struct fixture){0};
    arena_init(&f->arena);
    printer_init(&f->printer, format, is_hex, &f->out, &f->err);
}

static void end(struct fixture *f)
{
    arena_fini(&f->arena);
    buf_fini(&f->bytes);
    buf_fini(&f->out);
    buf_fini(&f->err);
}

static uint8_t nibble(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Bytes written in hexadecimal, as one message. */
static void *decode(struct fixture *f, const ProtobufCMessageDescriptor *type, const char *hex)
{
    buf_reset(&f->bytes);
    for (; *hex != 0; hex += 2) {
        buf_append_byte(&f->bytes, (uint8_t)(nibble(hex[0]) << 4 | nibble(hex[1])));
    }
    void *message = NULL;
    assert_int_equal(pb_decode(&f->arena, type, buf_slice(&f->bytes), &message, NULL), ERR_OK);
    return message;
}

#define HEADER "0a1808e39194a988c7df807f1093d7e3d5acac84e12b18"

static const char get_foo[] = "0a1808e39194a988c7df807f1093d7e3d5acac84e12b180d200212110a03666f6f"
                              "1002180a20082a04626172352001";

static const char *show_get(struct fixture *f, const char *hex)
{
    buf_reset(&f->out);
    assert_int_equal(
        print_get(&f->printer, decode(f, &etcdserverpb__range_response__descriptor, hex)), ERR_OK);
    return buf_cstr(&f->out);
}

TEST(print, get_in_every_format)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    assert_string_equal(show_get(&f, get_foo), "foo\nbar5\n");
    f.printer.values_only = true;
    assert_string_equal(show_get(&f, get_foo), "bar5\n");
    end(&f);
    begin(&f, PRINT_SIMPLE, true);
    assert_string_equal(show_get(&f, get_foo), "\\x66\\x6f\\x6f\n\\x62\\x61\\x72\\x35\n");
    end(&f);
    begin(&f, PRINT_JSON, true);
    assert_string_equal(
        show_get(&f, get_foo),
        "{\"header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":13,\"raft_term\":2},\"kvs\":[{\"key\":\"Zm9v\",\"create_revision\":2,"
        "\"mod_revision\":10,\"version\":8,\"value\":\"YmFyNQ==\"}],\"count\":1}\n");
    end(&f);
    begin(&f, PRINT_FIELDS, false);
    assert_string_equal(show_get(&f, get_foo), "\"ClusterID\" : 9151734699010623715\n"
                                               "\"MemberID\" : 3153101805118352275\n"
                                               "\"Revision\" : 13\n"
                                               "\"RaftTerm\" : 2\n"
                                               "\"Key\" : \"foo\"\n"
                                               "\"CreateRevision\" : 2\n"
                                               "\"ModRevision\" : 10\n"
                                               "\"Version\" : 8\n"
                                               "\"Value\" : \"bar5\"\n"
                                               "\"Lease\" : 0\n"
                                               "\"More\" : false\n"
                                               "\"Count\" : 1\n");
    end(&f);
    begin(&f, PRINT_PROTOBUF, false);
    show_get(&f, get_foo);
    assert_int_equal(f.out.len, f.bytes.len);
    assert_memory_equal(f.out.data, f.bytes.data, f.out.len);
    end(&f);
    begin(&f, PRINT_TABLE, false);
    assert_int_equal(
        print_get(&f.printer, decode(&f, &etcdserverpb__range_response__descriptor, get_foo)),
        ERR_UNSUPPORTED);
    end(&f);
}

static const char watch_put[] = HEADER "2420025a10120e0a0277311024182420012a027631";
/* The same with an id and a reason, which clientv3 does not keep. */
static const char watch_end[] = HEADER "24200210072001280632016f";

static const char *show_watch(struct fixture *f, const char *hex)
{
    buf_reset(&f->out);
    assert_int_equal(
        print_watch(&f->printer, decode(f, &etcdserverpb__watch_response__descriptor, hex)),
        ERR_OK);
    return buf_cstr(&f->out);
}

TEST(print, watch_in_every_format)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    assert_string_equal(show_watch(&f, watch_put), "PUT\nw1\nv1\n");
    assert_string_equal(show_watch(&f, watch_end), "");
    end(&f);
    begin(&f, PRINT_SIMPLE, true);
    assert_string_equal(show_watch(&f, watch_put), "PUT\n\\x77\\x31\n\\x76\\x31\n");
    end(&f);
    begin(&f, PRINT_JSON, false);
    assert_string_equal(
        show_watch(&f, watch_put),
        "{\"Header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":36,\"raft_term\":2},\"Events\":[{\"kv\":{\"key\":\"dzE=\","
        "\"create_revision\":36,\"mod_revision\":36,\"version\":1,\"value\":\"djE=\"}}],"
        "\"CompactRevision\":0,\"Canceled\":false,\"Created\":false}\n");
    assert_string_equal(
        show_watch(&f, watch_end),
        "{\"Header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":36,\"raft_term\":2},\"Events\":[],\"CompactRevision\":6,\"Canceled\":true,"
        "\"Created\":false}\n");
    assert_string_equal(show_watch(&f, "2001"),
                        "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":true,"
                        "\"Created\":false}\n");
    end(&f);
    begin(&f, PRINT_FIELDS, false);
    assert_string_equal(show_watch(&f, watch_put), "\"ClusterID\" : 9151734699010623715\n"
                                                   "\"MemberID\" : 3153101805118352275\n"
                                                   "\"Revision\" : 36\n"
                                                   "\"RaftTerm\" : 2\n"
                                                   "\"Type\" : PUT\n"
                                                   "\"Key\" : \"w1\"\n"
                                                   "\"CreateRevision\" : 36\n"
                                                   "\"ModRevision\" : 36\n"
                                                   "\"Version\" : 1\n"
                                                   "\"Value\" : \"v1\"\n"
                                                   "\"Lease\" : 0\n");
    end(&f);
    begin(&f, PRINT_PROTOBUF, false);
    show_watch(&f, watch_put);
    assert_int_equal(f.out.len, f.bytes.len);
    assert_memory_equal(f.out.data, f.bytes.data, f.out.len);
    show_watch(&f, watch_end); /* without the id and the reason: 2 and 3 bytes */
    assert_int_equal(f.out.len, f.bytes.len - 5);
    end(&f);
    begin(&f, PRINT_TABLE, false);
    assert_int_equal(
        print_watch(&f.printer, decode(&f, &etcdserverpb__watch_response__descriptor, watch_put)),
        ERR_UNSUPPORTED);
    end(&f);
}

TEST(print, fields_with_hex_shows_ids_in_hexadecimal)
{
    struct fixture f;
    begin(&f, PRINT_FIELDS, true);
    assert_string_equal(show_get(&f, get_foo), "\"ClusterID\" : 7f017e38852508e3\n"
                                               "\"MemberID\" : 2bc21162cab8eb93\n"
                                               "\"Revision\" : 13\n"
                                               "\"RaftTerm\" : 2\n"
                                               "\"Key\" : \"foo\"\n"
                                               "\"CreateRevision\" : 2\n"
                                               "\"ModRevision\" : 10\n"
                                               "\"Version\" : 8\n"
                                               "\"Value\" : \"bar5\"\n"
                                               "\"Lease\" : 0000000000000000\n"
                                               "\"More\" : false\n"
                                               "\"Count\" : 1\n");
    end(&f);
}

TEST(print, an_empty_answer_has_no_zero_fields_in_json)
{
    struct fixture f;
    begin(&f, PRINT_JSON, false);
    assert_string_equal(
        show_get(&f, HEADER "0d2002"),
        "{\"header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":13,\"raft_term\":2}}\n");
    assert_string_equal(show_get(&f, ""), "{}\n");
    end(&f);
    begin(&f, PRINT_FIELDS, false);
    assert_string_equal(show_get(&f, ""), "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"RaftTerm\" : 0\n"
                                          "\"More\" : false\n\"Count\" : 0\n");
    end(&f);
}

TEST(print, put_and_its_previous_pair)
{
    /* header; prev_kv { key "foo" create 2 mod 5 version 4 value "bar3" } */
    static const char put[] = "12110a03666f6f1002180520042a0462617233";
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    assert_int_equal(
        print_put(&f.printer, decode(&f, &etcdserverpb__put_response__descriptor, put)), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "OK\nfoo\nbar3\n");
    end(&f);
    begin(&f, PRINT_PROTOBUF, false);
    assert_int_equal(
        print_put(&f.printer, decode(&f, &etcdserverpb__put_response__descriptor, HEADER "052002")),
        ERR_OK);
    assert_int_equal(f.out.len, f.bytes.len);
    assert_memory_equal(f.out.data, f.bytes.data, f.out.len);
    end(&f);
}

/* header 19; deleted 1; prev_kvs { "d1" 18 18 1 "1" } */
static const char del_d1[] = HEADER "132002"
                                    "1001"
                                    "1a0d"
                                    "0a0264311012181220012a0131";

TEST(print, del_in_the_formats_of_the_captures)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__DeleteRangeResponse *del =
        decode(&f, &etcdserverpb__delete_range_response__descriptor, del_d1);
    assert_int_equal(print_del(&f.printer, del), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "1\nd1\n1\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_FIELDS, false, &f.out, &f.err);
    assert_int_equal(print_del(&f.printer, del), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "\"ClusterID\" : 9151734699010623715\n"
                                          "\"MemberID\" : 3153101805118352275\n"
                                          "\"Revision\" : 19\n"
                                          "\"RaftTerm\" : 2\n"
                                          "\"Deleted\" : 1\n"
                                          "\"PrevKey\" : \"d1\"\n"
                                          "\"PrevCreateRevision\" : 18\n"
                                          "\"PrevModRevision\" : 18\n"
                                          "\"PrevVersion\" : 1\n"
                                          "\"PrevValue\" : \"1\"\n"
                                          "\"PrevLease\" : 0\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_del(&f.printer, del), ERR_OK);
    assert_string_equal(
        buf_cstr(&f.out),
        "{\"header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":19,\"raft_term\":2},\"deleted\":1,\"prev_kvs\":[{\"key\":\"ZDE=\","
        "\"create_revision\":18,\"mod_revision\":18,\"version\":1,\"value\":\"MQ==\"}]}\n");
    end(&f);
}

TEST(print, txn_in_the_formats_of_the_captures)
{
    /* The range of the capture, and a deletion behind it. */
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__TxnResponse *txn = pb_new(&f.arena, &etcdserverpb__txn_response__descriptor);
    Etcdserverpb__ResponseOp *ops[3];
    for (size_t i = 0; i < 3; i++) {
        ops[i] = pb_new(&f.arena, &etcdserverpb__response_op__descriptor);
    }
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.revision = 24;
    Etcdserverpb__PutResponse put = ETCDSERVERPB__PUT_RESPONSE__INIT;
    put.header = &header;
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key = pb_binary(SLICE("k1"));
    kv.value = pb_binary(SLICE("v1"));
    kv.create_revision = kv.mod_revision = 24;
    kv.version = 1;
    Mvccpb__KeyValue *kvs[] = {&kv};
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    range.header = &header;
    range.kvs = kvs;
    range.n_kvs = 1;
    range.count = 1;
    ops[0]->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
    ops[0]->response_put = &put;
    ops[1]->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
    ops[1]->response_range = &range;
    txn->succeeded = true;
    txn->responses = ops;
    txn->n_responses = 2;
    assert_int_equal(print_txn(&f.printer, txn), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "SUCCESS\n\nOK\n\nk1\nv1\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_txn(&f.printer, txn), ERR_OK);
    assert_string_equal(
        buf_cstr(&f.out),
        "{\"succeeded\":true,\"responses\":[{\"Response\":{\"response_put\":{\"header\":"
        "{\"revision\":24}}}},{\"Response\":{\"response_range\":{\"header\":{\"revision\":24},"
        "\"kvs\":[{\"key\":\"azE=\",\"create_revision\":24,\"mod_revision\":24,\"version\":1,"
        "\"value\":\"djE=\"}],\"count\":1}}}]}\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_FIELDS, false, &f.out, &f.err);
    assert_int_equal(print_txn(&f.printer, txn), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "\"ClusterID\" : 0\n"
                                          "\"MemberID\" : 0\n"
                                          "\"RaftTerm\" : 0\n"
                                          "\"Succeeded\" : true\n"
                                          "\"ClusterID\" : 0\n"
                                          "\"MemberID\" : 0\n"
                                          "\"Revision\" : 24\n"
                                          "\"RaftTerm\" : 0\n"
                                          "\"ClusterID\" : 0\n"
                                          "\"MemberID\" : 0\n"
                                          "\"Revision\" : 24\n"
                                          "\"RaftTerm\" : 0\n"
                                          "\"Key\" : \"k1\"\n"
                                          "\"CreateRevision\" : 24\n"
                                          "\"ModRevision\" : 24\n"
                                          "\"Version\" : 1\n"
                                          "\"Value\" : \"v1\"\n"
                                          "\"Lease\" : 0\n"
                                          "\"More\" : false\n"
                                          "\"Count\" : 1\n");
    end(&f);
}

static const char members[] =
    "0a1608e39194a988c7df807f1093d7e3d5acac84e12b200212430893d7e3d5acac84e12b120764656661756c741a"
    "16687474703a2f2f3132372e302e302e313a32343739312216687474703a2f2f3132372e302e302e313a32343739"
    "30";

static const char *show_members(struct fixture *f, enum print_format format, bool is_hex)
{
    buf_reset(&f->out);
    printer_init(&f->printer, format, is_hex, &f->out, &f->err);
    assert_int_equal(
        print_members(&f->printer,
                      decode(f, &etcdserverpb__member_list_response__descriptor, members)),
        ERR_OK);
    return buf_cstr(&f->out);
}

TEST(print, members_in_every_format)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    assert_string_equal(
        show_members(&f, PRINT_SIMPLE, false),
        "2bc21162cab8eb93, started, default, http://127.0.0.1:24791, http://127.0.0.1:24790, "
        "false\n");
    assert_string_equal(
        show_members(&f, PRINT_JSON, false),
        "{\"header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"raft_term\":2},\"members\":[{\"ID\":3153101805118352275,\"name\":\"default\","
        "\"peerURLs\":[\"http://127.0.0.1:24791\"],\"clientURLs\":[\"http://127.0.0.1:24790\"]}]}"
        "\n");
    assert_string_equal(
        show_members(&f, PRINT_JSON, true),
        "{\"header\":{\"cluster_id\":\"7f017e38852508e3\",\"member_id\":\"2bc21162cab8eb93\","
        "\"raft_term\":2},\"members\":[{\"ID\":\"2bc21162cab8eb93\",\"name\":\"default\","
        "\"peerURLs\":[\"http://127.0.0.1:24791\"],\"clientURLs\":[\"http://127.0.0.1:24790\"]}]}"
        "\n");
    assert_string_equal(show_members(&f, PRINT_FIELDS, false),
                        "\"ClusterID\" : 9151734699010623715\n"
                        "\"MemberID\" : 3153101805118352275\n"
                        "\"RaftTerm\" : 2\n"
                        "\"ID\" : 3153101805118352275\n"
                        "\"Name\" : \"default\"\n"
                        "\"PeerURL\" : \"http://127.0.0.1:24791\"\n"
                        "\"ClientURL\" : \"http://127.0.0.1:24790\"\n"
                        "\"IsLearner\" : false\n"
                        "\n");
    show_members(&f, PRINT_PROTOBUF, false);
    assert_int_equal(f.out.len, f.bytes.len);
    assert_memory_equal(f.out.data, f.bytes.data, f.out.len);
    assert_string_equal(
        show_members(&f, PRINT_TABLE, false),
        "+------------------+---------+---------+------------------------+------------------------"
        "+------------+\n"
        "|        ID        | STATUS  |  NAME   |       PEER ADDRS       |      CLIENT ADDRS      "
        "| IS LEARNER |\n"
        "+------------------+---------+---------+------------------------+------------------------"
        "+------------+\n"
        "| 2bc21162cab8eb93 | started | default | http://127.0.0.1:24791 | http://127.0.0.1:24790 "
        "|      false |\n"
        "+------------------+---------+---------+------------------------+------------------------"
        "+------------+\n");
    end(&f);
}

TEST(print, a_member_that_has_not_started)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__Member *member = pb_new(&f.arena, &etcdserverpb__member__descriptor);
    Etcdserverpb__Member *list[] = {member};
    char url[] = "http://127.0.0.1:29001";
    char *urls[] = {url};
    member->id = 0x321e35f2662c31bd;
    member->peerurls = urls;
    member->n_peerurls = 1;
    member->islearner = true;
    Etcdserverpb__MemberListResponse answer = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    answer.members = list;
    answer.n_members = 1;
    assert_int_equal(print_members(&f.printer, &answer), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "321e35f2662c31bd, unstarted, , http://127.0.0.1:29001, , true\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, true, &f.out, &f.err);
    assert_int_equal(print_members(&f.printer, &answer), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "{\"header\":{\"cluster_id\":\"0\",\"member_id\":\"0\",\"raft_term\":0},"
                        "\"members\":[{\"ID\":\"321e35f2662c31bd\",\"name\":\"\",\"peerURLs\":"
                        "[\"http://127.0.0.1:29001\"],\"clientURLs\":null}]}\n");
    end(&f);
}

TEST(print, alarms_in_the_formats_of_the_captures)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__AlarmResponse *alarms = decode(&f, &etcdserverpb__alarm_response__descriptor,
                                                 HEADER "2a20021204080110011202"
                                                        "0802");
    assert_int_equal(print_alarms(&f.printer, alarms), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "memberID:1 alarm:NOSPACE \nmemberID:2 \n");
    buf_reset(&f.out);
    alarms->n_alarms = 1;
    printer_init(&f.printer, PRINT_FIELDS, false, &f.out, &f.err);
    assert_int_equal(print_alarms(&f.printer, alarms), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "\"ClusterID\" : 9151734699010623715\n"
                                          "\"MemberID\" : 3153101805118352275\n"
                                          "\"Revision\" : 42\n"
                                          "\"RaftTerm\" : 2\n"
                                          "\"MemberID\" : 1\n"
                                          "\"AlarmType\" : NOSPACE\n"
                                          "\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_alarms(&f.printer, alarms), ERR_OK);
    assert_string_equal(
        buf_cstr(&f.out),
        "{\"header\":{\"cluster_id\":9151734699010623715,\"member_id\":3153101805118352275,"
        "\"revision\":42,\"raft_term\":2},\"alarms\":[{\"memberID\":1,\"alarm\":1}]}\n");
    end(&f);
}

static const struct print_health health[] = {
    {"127.0.0.1:24790", true, 2683181, ""},
    {"127.0.0.1:24799", false, 5000510976, "context deadline exceeded"},
};

TEST(print, health_in_every_format)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    assert_int_equal(print_health(&f.printer, health, 2), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "127.0.0.1:24790 is healthy: successfully committed "
                                          "proposal: took = 2.683181ms\n");
    assert_string_equal(buf_cstr(&f.err), "127.0.0.1:24799 is unhealthy: failed to commit "
                                          "proposal: context deadline exceeded\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_health(&f.printer, health, 2), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "[{\"endpoint\":\"127.0.0.1:24790\",\"health\":true,\"took\":"
                        "\"2.683181ms\"},{\"endpoint\":\"127.0.0.1:24799\",\"health\":false,"
                        "\"took\":\"5.000510976s\",\"error\":\"context deadline exceeded\"}]\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_FIELDS, false, &f.out, &f.err);
    assert_int_equal(print_health(&f.printer, health, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "\"Endpoint\" : \"127.0.0.1:24790\"\n"
                                          "\"Health\" : true\n"
                                          "\"Took\" : 2.683181ms\n"
                                          "\"Error\" : \n"
                                          "\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_TABLE, false, &f.out, &f.err);
    assert_int_equal(print_health(&f.printer, health, 2), ERR_OK);
    assert_string_equal(
        buf_cstr(&f.out),
        "+-----------------+--------+--------------+---------------------------+\n"
        "|    ENDPOINT     | HEALTH |     TOOK     |           ERROR           |\n"
        "+-----------------+--------+--------------+---------------------------+\n"
        "| 127.0.0.1:24790 |   true |   2.683181ms |                           |\n"
        "| 127.0.0.1:24799 |  false | 5.000510976s | context deadline exceeded |\n"
        "+-----------------+--------+--------------+---------------------------+\n");
    printer_init(&f.printer, PRINT_PROTOBUF, false, &f.out, &f.err);
    assert_int_equal(print_health(&f.printer, health, 2), ERR_UNSUPPORTED);
    end(&f);
}

static Etcdserverpb__StatusResponse *status_answer(struct fixture *f)
{
    Etcdserverpb__StatusResponse *status =
        pb_new(&f->arena, &etcdserverpb__status_response__descriptor);
    status->header = pb_new(&f->arena, &etcdserverpb__response_header__descriptor);
    status->header->cluster_id = 9151734699010623715u;
    status->header->member_id = 3153101805118352275u;
    status->header->revision = 42;
    status->header->raft_term = 2;
    status->version = arena_strndup(&f->arena, "3.6.0", 5);
    status->storageversion = status->version;
    status->dbsize = 24576;
    status->dbsizeinuse = 20480;
    status->dbsizequota = 2147483648;
    status->leader = 3153101805118352275u;
    status->raftindex = status->raftappliedindex = 84;
    status->raftterm = 2;
    return status;
}

TEST(print, status_in_every_format)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    struct print_status list = {"127.0.0.1:24790", status_answer(&f)};
    assert_int_equal(print_status(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "127.0.0.1:24790, 2bc21162cab8eb93, 3.6.0, 3.6.0, 25 kB, 20 kB, 17%, "
                        "2.1 GB, true, false, 2, 84, 84, , , false\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_status(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(
        buf_cstr(&f.out),
        "[{\"Endpoint\":\"127.0.0.1:24790\",\"Status\":{\"header\":{\"cluster_id\":"
        "9151734699010623715,\"member_id\":3153101805118352275,\"revision\":42,\"raft_term\":2},"
        "\"version\":\"3.6.0\",\"dbSize\":24576,\"leader\":3153101805118352275,\"raftIndex\":84,"
        "\"raftTerm\":2,\"raftAppliedIndex\":84,\"dbSizeInUse\":20480,\"storageVersion\":\"3.6.0\","
        "\"dbSizeQuota\":2147483648}}]\n");
    buf_reset(&f.out);
    assert_int_equal(print_status(&f.printer, &list, 0), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "null\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_FIELDS, false, &f.out, &f.err);
    assert_int_equal(print_status(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "\"ClusterID\" : 9151734699010623715\n"
                                          "\"MemberID\" : 3153101805118352275\n"
                                          "\"Revision\" : 42\n"
                                          "\"RaftTerm\" : 2\n"
                                          "\"Version\" : \"3.6.0\"\n"
                                          "\"StorageVersion\" : \"3.6.0\"\n"
                                          "\"DBSize\" : 24576\n"
                                          "\"DBSizeInUse\" : 20480\n"
                                          "\"DBSizeQuota\" : 2147483648\n"
                                          "\"Leader\" : 3153101805118352275\n"
                                          "\"IsLearner\" : false\n"
                                          "\"RaftIndex\" : 84\n"
                                          "\"RaftTerm\" : 2\n"
                                          "\"RaftAppliedIndex\" : 84\n"
                                          "\"Errors\" : []\n"
                                          "\"Endpoint\" : \"127.0.0.1:24790\"\n"
                                          "\"DowngradeTargetVersion\" : \"\"\n"
                                          "\"DowngradeEnabled\" : false\n"
                                          "\n");
    end(&f);
}

TEST(print, a_status_full_of_nonsense_is_shown)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__StatusResponse *status = status_answer(&f);
    struct print_status list = {"e", status};
    status->dbsize = 0;
    status->dbsizeinuse = INT64_MAX;
    status->header = NULL;
    assert_int_equal(print_status(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "e, 0, 3.6.0, 3.6.0, 0 B, 9.2 EB, 0%, 2.1 GB, false, "
                                          "false, 2, 84, 84, , , false\n");
    status->dbsize = INT64_MIN;
    status->dbsizeinuse = -1;
    assert_int_equal(print_status(&f.printer, &list, 1), ERR_OK);
    end(&f);
}

TEST(print, hashkv_has_its_revision)
{
    struct fixture f;
    begin(&f, PRINT_SIMPLE, false);
    Etcdserverpb__HashKVResponse hash = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    hash.hash = 3986521251;
    hash.compact_revision = 6;
    hash.hash_revision = 42;
    struct print_hashkv list = {"127.0.0.1:24790", &hash};
    assert_int_equal(print_hashkv(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "127.0.0.1:24790, 3986521251, 42\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_JSON, false, &f.out, &f.err);
    assert_int_equal(print_hashkv(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "[{\"Endpoint\":\"127.0.0.1:24790\",\"HashKV\":{\"hash\":3986521251,"
                        "\"compact_revision\":6,\"hash_revision\":42}}]\n");
    buf_reset(&f.out);
    printer_init(&f.printer, PRINT_TABLE, false, &f.out, &f.err);
    assert_int_equal(print_hashkv(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out), "+-----------------+------------+---------------+\n"
                                          "|    ENDPOINT     |    HASH    | HASH REVISION |\n"
                                          "+-----------------+------------+---------------+\n"
                                          "| 127.0.0.1:24790 | 3986521251 |            42 |\n"
                                          "+-----------------+------------+---------------+\n");
    end(&f);
}

TEST(print, json_escapes_as_go_does)
{
    struct fixture f;
    begin(&f, PRINT_JSON, false);
    struct print_health list = {"<a>&\"\xe2\x80\xa8\xff", true, 1, ""};
    assert_int_equal(print_health(&f.printer, &list, 1), ERR_OK);
    assert_string_equal(buf_cstr(&f.out),
                        "[{\"endpoint\":\"\\u003ca\\u003e\\u0026\\\"\\u2028\\ufffd\",\"health\":"
                        "true,\"took\":\"1ns\"}]\n");
    end(&f);
}

TEST(print, formats_have_names)
{
    enum print_format format;
    static const char *const names[] = {"simple", "fields", "json", "protobuf", "table"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(print_format_parse(names[i], &format), ERR_OK);
        assert_string_equal(print_format_name(format), names[i]);
    }
    assert_int_equal(print_format_parse("bad", &format), ERR_INVALID);
    assert_int_equal(print_format_parse("", &format), ERR_INVALID);
    assert_int_equal(print_format_parse("JSON", &format), ERR_INVALID);
}

/* ---- tables ---------------------------------------------------------------------------- */

TEST(print, a_long_cell_is_wrapped_between_words)
{
    static const char *const titles[] = {"id", "errors"};
    struct table *table = table_new(titles, 2);
    struct buf out = {0};
    table_cell(table, SLICE("1"));
    table_cell(table, SLICE("memberID:1 alarm:NOSPACE , etcdserver: no leader"));
    table_cell(table, SLICE("2"));
    table_cell(table, SLICE("one-word-that-is-much-longer-than-the-limit x"));
    table_cell(table, SLICE("3"));
    table_cell(table, SLICE("rpc error: code = Unavailable desc = connection error: desc = "
                            "\"transport: Error while dialing: dial tcp\""));
    table_cell(table, SLICE("4"));
    table_cell(table, SLICE("aaaa bbbb  cccc\ndddd eeeeeeeeeee ffffffffff ggggg hh i "
                            "jjjjjjjjjjjjj"));
    table_draw(table, &out);
    assert_string_equal(buf_cstr(&out), "+----+---------------------------------------------+\n"
                                        "| ID |                   ERRORS                    |\n"
                                        "+----+---------------------------------------------+\n"
                                        "|  1 |                  memberID:1 alarm:NOSPACE , |\n"
                                        "|    |                       etcdserver: no leader |\n"
                                        "|  2 | one-word-that-is-much-longer-than-the-limit |\n"
                                        "|    |                                           x |\n"
                                        "|  3 |               rpc error: code = Unavailable |\n"
                                        "|    |               desc = connection error: desc |\n"
                                        "|    |                   = \"transport: Error while |\n"
                                        "|    |                          dialing: dial tcp\" |\n"
                                        "|  4 |                        aaaa bbbb  cccc dddd |\n"
                                        "|    |                eeeeeeeeeee ffffffffff ggggg |\n"
                                        "|    |                          hh i jjjjjjjjjjjjj |\n"
                                        "+----+---------------------------------------------+\n");
    table_free(&table);
    buf_fini(&out);
}

TEST(print, wide_characters_take_two_columns)
{
    static const char *const titles[] = {"name"};
    struct table *table = table_new(titles, 1);
    struct buf out = {0};
    table_cell(table, SLICE("\xe8\xad\xb0\xe9\x95\xb7\xe5\x93\xa1")); /* three of them */
    table_cell(table, SLICE("e\xcc\x81"));                            /* e and an accent */
    table_cell(table, SLICE("\xf0\x9f\x98\x80"));
    table_draw(table, &out);
    assert_string_equal(buf_cstr(&out), "+--------+\n"
                                        "|  NAME  |\n"
                                        "+--------+\n"
                                        "| \xe8\xad\xb0\xe9\x95\xb7\xe5\x93\xa1 |\n"
                                        "|      e\xcc\x81 |\n"
                                        "|     \xf0\x9f\x98\x80 |\n"
                                        "+--------+\n");
    table_free(&table);
    buf_fini(&out);
}

TEST(print, a_cell_of_very_many_words_stays_on_one_line)
{
    static const char *const titles[] = {"x"};
    struct table *table = table_new(titles, 1);
    struct buf text = {0};
    struct buf out = {0};
    for (int i = 0; i < 2000; i++) {
        buf_append_str(&text, "w ");
    }
    table_cell(table, buf_slice(&text));
    table_draw(table, &out);
    assert_true(out.len > 4 * 4000);
    table_free(&table);
    buf_fini(&text);
    buf_fini(&out);
}

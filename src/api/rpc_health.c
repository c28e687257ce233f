/* grpc.health.v1.Health: whether this server serves. */
#include "api/rpc_priv.h"

#include "health.pb-c.h"

#define HEALTH "grpc.health.v1.Health"

static bool health_decode(struct grpc_call *call, struct slice bytes, const char **service_out)
{
    Grpc__Health__V1__HealthCheckRequest *request = NULL;
    rpc_counters_started(rpc__counters(call));
    if (!rpc__decode(call, grpc_call_arena(call),
                     &grpc__health__v1__health_check_request__descriptor, bytes, &request)) {
        return false;
    }
    *service_out = request->service;
    return true;
}

/* HealthCheckResponse{status = 1}: SERVING 1, SERVICE_UNKNOWN 3. */
static const struct slice health_serving = {(const uint8_t *)"\x08\x01", 2};
static const struct slice health_unknown = {(const uint8_t *)"\x08\x03", 2};

static void health_check(struct grpc_call *call, struct slice bytes)
{
    const char *service;
    if (!health_decode(call, bytes, &service)) {
        return;
    }
    if (service[0] != '\0') {
        rpc__finish(call, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    rpc__reply(call, health_serving);
}

/* The state never changes while the server serves, so one message and then silence until the
 * client leaves or the server stops. */
static void health_watch(struct grpc_call *call, struct slice bytes)
{
    const char *service;
    if (health_decode(call, bytes, &service)) {
        rpc_counters_sent(rpc__counters(call));
        grpc_call_send_copy(call, service[0] == '\0' ? health_serving : health_unknown);
    }
}

static void health_watch_cancel(struct grpc_call *call, enum grpc_status why)
{
    rpc__finish(call, why, "");
}

/* HealthListResponse{statuses = 1: map<string, HealthCheckResponse>} with the one entry "". */
static void health_list(struct grpc_call *call, struct slice bytes)
{
    static const uint8_t list[] = {0x0a, 0x06, 0x0a, 0x00, 0x12, 0x02, 0x08, 0x01};
    UNUSED(bytes);
    rpc_counters_started(rpc__counters(call));
    rpc_counters_received(rpc__counters(call));
    rpc__reply(call, slice_of(list, sizeof(list)));
}

static const struct grpc_handler health_check_handler = {.message = health_check};
static const struct grpc_handler health_list_handler = {.message = health_list};
static const struct grpc_handler health_watch_handler = {
    .message = health_watch,
    .cancel = health_watch_cancel,
};

const struct rpc_method rpc__health_methods[] = {
    {HEALTH, "Check", GRPC_UNARY, NULL, NULL, &health_check_handler},
    {HEALTH, "List", GRPC_UNARY, NULL, NULL, &health_list_handler},
    {HEALTH, "Watch", GRPC_SERVER_STREAM, NULL, NULL, &health_watch_handler},
};
const size_t rpc__health_method_count = ARRAY_LEN(rpc__health_methods);

/* Calls that may go on for ever, and what ends them: a stop, and the loss of the leader.
 *
 * One timer for all, which runs while some stream asks for a leader. It looks once an election
 * timeout; so many looks without one, one after the other, and the streams are ended. */
#include "api/rpc_priv.h"

#define LEADERLESS_MAX 3 /* etcd's maxNoLeaderCnt */

static void timer_again(struct api *api)
{
    struct loop *loop = api->options.loop;
    uint64_t timeout = api->config->election_ticks * api->config->heartbeat_ms * NS_PER_MS;
    timer_start(loop, &api->lasting.timer, loop_now(loop) + timeout);
}

static void on_timer(struct timer *timer)
{
    struct api *api = CONTAINER_OF(timer, struct api, lasting.timer);
    struct rpc_lastings *all = &api->lasting;
    all->leaderless = server_leader(api->server) != 0 ? 0 : all->leaderless + 1;
    if (all->leaderless >= LEADERLESS_MAX) {
        LIST_FOR_EACH (&all->calls, link) {
            struct rpc_lasting *lasting = CONTAINER_OF(link, struct rpc_lasting, link);
            if (lasting->needs_leader) {
                lasting->stop(lasting, STATUS_NO_LEADER);
            }
        }
    }
    if (all->need_leader > 0) {
        timer_again(api);
    }
}

void rpc_lastings_init(struct api *api)
{
    list_init(&api->lasting.calls);
    timer_init(&api->lasting.timer, on_timer);
}

void rpc_lastings_stop(struct api *api)
{
    api->lasting.is_stopping = true;
    LIST_FOR_EACH (&api->lasting.calls, link) {
        struct rpc_lasting *lasting = CONTAINER_OF(link, struct rpc_lasting, link);
        lasting->stop(lasting, STATUS_STOPPED);
    }
}

void rpc_lastings_fini(struct api *api)
{
    ASSERT(list_empty(&api->lasting.calls));
    timer_stop(api->options.loop, &api->lasting.timer);
}

bool rpc__needs_leader(const struct grpc_call *call)
{
    struct slice value;
    return grpc_call_metadata(call, "hasleader", 0, &value) && slice_eq_str(value, "true");
}

/* A unary call asks for a leader only when it begins, as in etcd. */
void rpc__lasting_begin(struct grpc_call *call, struct rpc_lasting *lasting, rpc_stop_fn *stop)
{
    struct api *api = rpc__api(call);
    struct rpc_lastings *all = &api->lasting;
    lasting->api = api;
    lasting->stop = stop;
    lasting->needs_leader = grpc_call_method(call)->kind != GRPC_UNARY && rpc__needs_leader(call);
    list_init(&lasting->link);
    list_add_tail(&all->calls, &lasting->link);
    all->need_leader += lasting->needs_leader;
    if (lasting->needs_leader && !timer_running(&all->timer)) {
        all->leaderless = 0;
        timer_again(api);
    }
}

void rpc__lasting_end(struct rpc_lasting *lasting)
{
    if (lasting->link.next != NULL) {
        list_del(&lasting->link);
    }
    if (lasting->needs_leader) {
        lasting->needs_leader = false;
        ASSERT(lasting->api->lasting.need_leader > 0);
        lasting->api->lasting.need_leader--;
    }
}

#include "sys/query.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"

#define WORTH_TELLING_NS (NP_NS_PER_S / 10)

void np_settings_unref(np_settings *s) {
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = s->alloc;
    np_alloc_put(alloc, s, s->size);
    np_alloc_unref(alloc);
}

/* Delivering may end what holds the loop's memory, and the mailbox is in there. */
void np_query_answer(np_query *q) {
    neap_loop *loop = q->post.loop;
    np_loop_keep(loop);
    atomic_store_explicit(&q->answered, true, memory_order_release);
    np_mailbox_put_always(&loop->mail, &q->post.mail);
    np_loop_wake_if_asleep(loop);
    np_loop_let_go(loop);
}

static const char *const protocols[] = {"tcp", "udp"};

static int32_t find_port(np_query *q) {
    char buf[1024];
    if (q->service[0] == '\0')
        return 0;
    for (size_t i = 0; i < 2; i++) {
        struct servent entry, *found = NULL;
        getservbyname_r(q->service, protocols[i], &entry, buf, sizeof buf, &found);
        if (found != NULL) {
            q->port = ntohs((uint16_t)found->s_port);
            return 0;
        }
    }
    return NEAP_ESERVICE_NOT_FOUND;
}

bool np_query_begin(np_query *q) {
    int64_t waited = np_clock_ns() - q->since_ns;
    q->queued_ns = waited > WORTH_TELLING_NS ? waited : 0;
    q->code = NEAP_ECLOSED;
    if (atomic_load_explicit(&q->unwanted, memory_order_relaxed))
        return false;
    q->code = find_port(q);
    if (q->code < 0 || q->known == NULL)
        return q->code == 0;
    q->addrs = np_addrs_at_port(q->known, q->port);
    q->code = q->addrs != NULL ? 0 : NEAP_ENOMEM;
    return false;
}

/* The name of the service at the port of the address, or the port as digits. */
static void find_service(const np_query *q, char *buf) {
    char memory[1024];
    int32_t port = neap_addr_port(&q->addr);
    struct servent entry, *found = NULL;
    for (size_t i = 0; i < 2 && found == NULL; i++)
        getservbyport_r(htons((uint16_t)port), protocols[i], &entry, memory, sizeof memory, &found);
    if (found != NULL)
        snprintf(buf, NP_SERVICE_MAX, "%s", found->s_name);
    else
        snprintf(buf, NP_SERVICE_MAX, "%d", (int)port);
}

void np_query_take_name(np_query *q, const char *name) {
    char service[NP_SERVICE_MAX];
    find_service(q, service);
    q->addrs = np_addrs_new(q->post.loop->alloc, 1, name, service);
    q->code = q->addrs != NULL ? 0 : NEAP_ENOMEM;
    if (q->addrs != NULL)
        q->addrs->at[0] = q->addr;
}

void np_query_fail(np_query *q, int status, const np_meaning *table, size_t n) {
    q->code = NEAP_ENAME_FAILED;
    for (size_t i = 0; i < n; i++) {
        if (table[i].status == status) {
            q->code = table[i].code;
            q->cause = table[i].cause;
        }
    }
}

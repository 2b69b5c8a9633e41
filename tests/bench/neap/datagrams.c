/* datagrams.c - what a datagram of 64 bytes over loopback costs, sent and received, in one process:
 *   datagrams raw-many|raw-one|many|one
 * raw-many is the baseline: a loop of sendmmsg and recvmmsg, 64 at a time; raw-one the same with
 * sendto and recvfrom. many and one are neap's calls. Prints ns of processor time. */
#include "../micro/micro.h"

#include <arpa/inet.h>
#include <neap.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BATCH = 64,
    SIZE = 64,
    ROUNDS = 4000
};

static char out[SIZE];
static char in[BATCH][2048];

static void need(int ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

/* ---- The kernel's own calls */

static struct sockaddr_in raw_to;

static int raw_socket(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    need(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0, "bind");
    return fd;
}

static void raw_many(int a, int b) {
    struct mmsghdr heads[BATCH] = {0};
    struct sockaddr_storage from[BATCH];
    struct iovec part = {out, SIZE};
    struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++)
        heads[i].msg_hdr = (struct msghdr){
            .msg_iov = &part, .msg_iovlen = 1, .msg_name = &raw_to, .msg_namelen = sizeof raw_to};
    need(sendmmsg(a, heads, BATCH, 0) == BATCH, "sendmmsg");
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){in[i], sizeof in[i]};
        heads[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i],
                                           .msg_iovlen = 1,
                                           .msg_name = &from[i],
                                           .msg_namelen = sizeof from[i]};
    }
    need(recvmmsg(b, heads, BATCH, 0, NULL) == BATCH, "recvmmsg");
}

static void raw_one(int a, int b) {
    struct sockaddr_storage from;
    for (int i = 0; i < BATCH; i++)
        need(sendto(a, out, SIZE, 0, (struct sockaddr *)&raw_to, sizeof raw_to) == SIZE, "sendto");
    for (int i = 0; i < BATCH; i++) {
        socklen_t len = sizeof from;
        need(recvfrom(b, in[i], sizeof in[i], 0, (struct sockaddr *)&from, &len) == SIZE,
             "recvfrom");
    }
}

static void raw(int many) {
    int a = raw_socket(), b = raw_socket();
    socklen_t len = sizeof raw_to;
    need(getsockname(b, (struct sockaddr *)&raw_to, &len) == 0, "getsockname");
    for (int i = 0; i < ROUNDS; i++)
        (many ? raw_many : raw_one)(a, b);
}

/* ---- neap's */

static neap_sock *neap_socket(neap_loop *loop, neap_addr *ret_addr) {
    neap_sock *sock;
    neap_addr any;
    need(neap_addr_parse("127.0.0.1:0", &any) == 0 &&
             neap_sock_new(loop, NEAP_UDP, NEAP_AF_INET, &sock) == 0 &&
             neap_sock_bind(sock, &any) == 0 && neap_sock_local(sock, ret_addr) == 0,
         "bind");
    return sock;
}

static void many(neap_sock *a, neap_sock *b, const neap_addr *to) {
    static neap_msg heads[BATCH];
    neap_future *future;
    for (int i = 0; i < BATCH; i++)
        heads[i] = (neap_msg){.data = out, .len = SIZE, .addr = *to};
    need(neap_sock_send_many(a, heads, sizeof heads[0], BATCH, 0, &future) == BATCH, "send_many");
    for (int i = 0; i < BATCH; i++)
        heads[i] = (neap_msg){.data = in[i], .cap = sizeof in[i]};
    need(neap_sock_recv_many(b, heads, sizeof heads[0], BATCH, 0, &future) == BATCH, "recv_many");
}

static void one(neap_sock *a, neap_sock *b, const neap_addr *to) {
    neap_future *future;
    neap_addr from;
    for (int i = 0; i < BATCH; i++)
        need(neap_sock_sendto(a, out, SIZE, to, 0, &future) == SIZE, "sendto");
    for (int i = 0; i < BATCH; i++)
        need(neap_sock_recvfrom(b, in[i], sizeof in[i], 0, &from, &future) == SIZE, "recvfrom");
}

static void ours(int batches) {
    neap_loop *loop;
    neap_addr from, to;
    need(neap_loop_new(NULL, &loop) == 0, "neap_loop_new");
    neap_sock *a = neap_socket(loop, &from), *b = neap_socket(loop, &to);
    for (int i = 0; i < ROUNDS; i++)
        (batches ? many : one)(a, b, &to);
    neap_sock_unref(a);
    neap_sock_unref(b);
    neap_loop_unref(loop);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    uint64_t start = micro_cpu_ns();
    if (strncmp(mode, "raw-", 4) == 0)
        raw(strcmp(mode, "raw-many") == 0);
    else
        ours(strcmp(mode, "many") == 0);
    printf("%.1f\n", (double)(micro_cpu_ns() - start) / ROUNDS / BATCH);
    return 0;
}

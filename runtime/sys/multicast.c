/* multicast.c: groups of multicast, by the calls that are the same for both families. */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "sys/sock.h"

/* By name or number; NULL: 0, the system's choice. */
static int32_t find_interface(const char *text, unsigned *ret_index) {
    char *end;
    *ret_index = 0;
    if (text == NULL)
        return 0;
    unsigned long n = strtoul(text, &end, 10);
    if (*text != '\0' && *end == '\0' && n <= INT32_MAX)
        *ret_index = (unsigned)n;
    else
        *ret_index = if_nametoindex(text);
    return *ret_index == 0 ? NEAP_EVALUE : 0;
}

static bool is_group(const neap_addr *addr) {
    if (addr->family == NEAP_AF_INET)
        return IN_MULTICAST(
            ntohl(((const struct sockaddr_in *)(const void *)addr->data)->sin_addr.s_addr));
    return addr->family == NEAP_AF_INET6 &&
           IN6_IS_ADDR_MULTICAST(
               &((const struct sockaddr_in6 *)(const void *)addr->data)->sin6_addr);
}

static int level_of(uint32_t family) {
    return family == NEAP_AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

static void copy_addr(struct sockaddr_storage *to, const neap_addr *from) {
    memcpy(to, from->data, from->len < sizeof *to ? from->len : sizeof *to);
}

static int32_t set(int fd, int level, int name, const void *value, size_t len) {
    return setsockopt(fd, level, name, value, (socklen_t)len) < 0 ? -errno : 0;
}

/* By itself Linux delivers what any socket of the machine has joined. */
static void hear_own_groups_only(int fd, int level) {
    (void)np_fd_set_int(fd, level, level == IPPROTO_IPV6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL,
                        0);
}

static int32_t set_member(int fd, unsigned index, const neap_addr *group, bool join) {
    struct group_req req = {.gr_interface = index};
    copy_addr(&req.gr_group, group);
    return set(fd, level_of(group->family), join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &req,
               sizeof req);
}

static int32_t set_source(int fd, unsigned index, const neap_addr *group, const neap_addr *source,
                          bool join) {
    struct group_source_req req = {.gsr_interface = index};
    copy_addr(&req.gsr_group, group);
    copy_addr(&req.gsr_source, source);
    return set(fd, level_of(group->family),
               join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &req, sizeof req);
}

static int32_t change(neap_sock *s, const neap_addr *group, const char *iface,
                      const neap_addr *source, bool join) {
    unsigned index = 0;
    int32_t rc = group == NULL ? NEAP_EINVAL : np_sock_enter(s);
    if (rc == 0 && (!is_group(group) || (source != NULL && source->family != group->family)))
        rc = NEAP_EVALUE;
    if (rc == 0)
        rc = find_interface(iface, &index);
    if (rc == 0)
        rc = np_sock_open(s, group->family);
    if (rc < 0)
        return rc;
    rc = source == NULL ? set_member(s->desc.fd, index, group, join)
                        : set_source(s->desc.fd, index, group, source, join);
    if (rc == 0 && join)
        hear_own_groups_only(s->desc.fd, level_of(group->family));
    return rc;
}

int32_t neap_sock_join(neap_sock *sock, const neap_addr *group, const char *iface,
                       const neap_addr *source) {
    return change(sock, group, iface, source, true);
}

int32_t neap_sock_leave(neap_sock *sock, const neap_addr *group, const char *iface,
                        const neap_addr *source) {
    return change(sock, group, iface, source, false);
}

int32_t neap_sock_multicast_via(neap_sock *sock, const char *iface) {
    unsigned index = 0;
    int domain = 0;
    int32_t rc = np_sock_enter(sock);
    if (rc == 0)
        rc = sock->desc.fd < 0 ? NEAP_EBADF : find_interface(iface, &index);
    if (rc == 0)
        rc = np_fd_get_int(sock->desc.fd, SOL_SOCKET, SO_DOMAIN, &domain);
    if (rc < 0)
        return rc;
    if (domain == AF_INET6)
        return np_fd_set_int(sock->desc.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)index);
    struct ip_mreqn via = {.imr_ifindex = (int)index};
    return set(sock->desc.fd, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof via);
}

/* addr.c: addresses as text.  Numeric only: names are the resolver's. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/fd.h"

_Static_assert(sizeof(struct sockaddr_storage) <= sizeof((neap_addr *)NULL)->data,
               "every address fits");
_Static_assert(NEAP_AF_UNIX == AF_UNIX && NEAP_AF_INET == AF_INET && NEAP_AF_INET6 == AF_INET6,
               "same numbers");

const struct sockaddr *np_addr_raw(const neap_addr *addr, socklen_t *ret_len) {
    *ret_len = addr->len;
    return (const struct sockaddr *)(const void *)addr->data;
}

const char *np_addr_path(const neap_addr *addr) {
    const size_t at = offsetof(struct sockaddr_un, sun_path);
    bool named = addr->family == NEAP_AF_UNIX && addr->len > at && addr->data[at] != '\0';
    return named ? (const char *)addr->data + at : NULL;
}

bool np_addr_wants_port(const neap_addr *addr) {
    bool ip = addr->family == NEAP_AF_INET || addr->family == NEAP_AF_INET6;
    return ip && neap_addr_port(addr) == 0;
}

void np_addr_set_port(neap_addr *addr, int32_t port) {
    const uint16_t raw = htons((uint16_t)port);
    if (addr->family == NEAP_AF_INET)
        memcpy(addr->data + offsetof(struct sockaddr_in, sin_port), &raw, sizeof raw);
    else if (addr->family == NEAP_AF_INET6)
        memcpy(addr->data + offsetof(struct sockaddr_in6, sin6_port), &raw, sizeof raw);
}

void np_addr_from_raw(neap_addr *addr, const struct sockaddr_storage *raw, socklen_t len) {
    if (len > sizeof *raw)
        len = sizeof *raw;
    memset(addr, 0, sizeof *addr);
    memcpy(addr->data, raw, len);
    addr->len = (uint32_t)len;
    addr->family = len >= sizeof raw->ss_family ? raw->ss_family : NEAP_AF_UNSPEC;
}

void np_addr_filled(neap_addr *addr, size_t len) {
    sa_family_t family = NEAP_AF_UNSPEC;
    if (len > sizeof addr->data)
        len = sizeof addr->data;
    if (len >= sizeof family)
        memcpy(&family, addr->data, sizeof family);
    addr->len = (uint32_t)len;
    addr->family = family;
}

static void set_raw(neap_addr *addr, const void *raw, size_t len, uint32_t family) {
    memset(addr, 0, sizeof *addr);
    memcpy(addr->data, raw, len);
    addr->len = (uint32_t)len;
    addr->family = family;
}

static int32_t parse_port(const char *text, uint16_t *ret_port) {
    char *end;
    if (*text < '0' || *text > '9')
        return NEAP_EVALUE;
    unsigned long port = strtoul(text, &end, 10);
    if (*end != '\0' || port > 65535)
        return NEAP_EVALUE;
    *ret_port = htons((uint16_t)port);
    return 0;
}

static int32_t parse_unix(const char *path, bool abstract, neap_addr *ret_addr) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n < (abstract ? 2u : 1u) || n >= sizeof un.sun_path)
        return NEAP_EVALUE;
    memcpy(un.sun_path, path, n);
    if (abstract)
        un.sun_path[0] = '\0'; /* the kernel's mark; the name has no final zero then */
    size_t len = offsetof(struct sockaddr_un, sun_path) + n + (abstract ? 0 : 1);
    set_raw(ret_addr, &un, len, NEAP_AF_UNIX);
    return 0;
}

static int32_t parse_scope(const char *zone, uint32_t *ret_scope) {
    char *end;
    unsigned long scope = strtoul(zone, &end, 10);
    if (*zone == '\0')
        return NEAP_EVALUE;
    if (*end != '\0')
        scope = if_nametoindex(zone);
    *ret_scope = (uint32_t)scope;
    return scope == 0 ? NEAP_EVALUE : 0;
}

/* "[HOST]:PORT" and "[HOST%ZONE]:PORT"; text is past the bracket. */
static int32_t parse_ip6(const char *text, neap_addr *ret_addr) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
    const char *close = strchr(text, ']');
    if (close == NULL || close[1] != ':' || (size_t)(close - text) >= sizeof host)
        return NEAP_EVALUE;
    memcpy(host, text, (size_t)(close - text));
    host[close - text] = '\0';
    char *zone = strchr(host, '%');
    if (zone != NULL) {
        *zone = '\0';
        if (parse_scope(zone + 1, &in6.sin6_scope_id) < 0)
            return NEAP_EVALUE;
    }
    if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1 || parse_port(close + 2, &in6.sin6_port) < 0)
        return NEAP_EVALUE;
    set_raw(ret_addr, &in6, sizeof in6, NEAP_AF_INET6);
    return 0;
}

static bool looks_numeric(const char *host) {
    return host[0] == '\0' || host[strspn(host, "0123456789.")] == '\0';
}

static int32_t parse_ip4(const char *text, neap_addr *ret_addr) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    char host[256];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return NEAP_EVALUE;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (parse_port(colon + 1, &in.sin_port) < 0 || strchr(host, ':') != NULL)
        return NEAP_EVALUE;
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return looks_numeric(host) ? NEAP_EVALUE : NEAP_ENAME;
    set_raw(ret_addr, &in, sizeof in, NEAP_AF_INET);
    return 0;
}

int32_t neap_addr_parse(const char *text, neap_addr *ret_addr) {
    if (text == NULL || ret_addr == NULL)
        return NEAP_EINVAL;
    if (text[0] == '@')
        return parse_unix(text, true, ret_addr);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, text[5] == '@', ret_addr);
    if (strchr(text, '/') != NULL)
        return parse_unix(text, false, ret_addr);
    if (text[0] == '[')
        return parse_ip6(text + 1, ret_addr);
    return parse_ip4(text, ret_addr);
}

static int format_unix(const neap_addr *addr, char *buf, size_t cap) {
    const struct sockaddr_un *un = (const void *)addr->data;
    size_t at = offsetof(struct sockaddr_un, sun_path);
    size_t n = addr->len > at ? addr->len - at : 0;
    if (n == 0)
        return snprintf(buf, cap, "%s", "");
    if (un->sun_path[0] == '\0')
        return snprintf(buf, cap, "@%.*s", (int)(n - 1), un->sun_path + 1);
    n = strnlen(un->sun_path, n);
    const char *mark = memchr(un->sun_path, '/', n) == NULL ? "unix:" : "";
    return snprintf(buf, cap, "%s%.*s", mark, (int)n, un->sun_path);
}

static int format_ip6(const neap_addr *addr, char *buf, size_t cap) {
    const struct sockaddr_in6 *in6 = (const void *)addr->data;
    char host[INET6_ADDRSTRLEN] = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    if (in6->sin6_scope_id != 0)
        return snprintf(buf, cap, "[%s%%%u]:%u", host, in6->sin6_scope_id, ntohs(in6->sin6_port));
    return snprintf(buf, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
}

int32_t neap_addr_format(const neap_addr *addr, char *buf, size_t cap) {
    if (addr == NULL || (buf == NULL && cap > 0))
        return NEAP_EINVAL;
    if (addr->family == NEAP_AF_INET) {
        const struct sockaddr_in *in = (const void *)addr->data;
        char host[INET_ADDRSTRLEN] = "";
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        return snprintf(buf, cap, "%s:%u", host, ntohs(in->sin_port));
    }
    if (addr->family == NEAP_AF_INET6)
        return format_ip6(addr, buf, cap);
    return format_unix(addr, buf, cap);
}

int32_t neap_addr_port(const neap_addr *addr) {
    if (addr == NULL)
        return NEAP_EINVAL;
    if (addr->family == NEAP_AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)addr->data)->sin_port);
    if (addr->family == NEAP_AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)addr->data)->sin6_port);
    return 0;
}

/* hostname.c: host and service names as texts: what can be one, and which are known without asking anybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sys/resolver.h"

enum {
    NAME_MAX_LEN = 253, /* without the final dot: RFC 1035's 255 bytes on the wire */
    LABEL_MAX_LEN = 63,
    PORT_MAX = 65535
};

/* Bytes above 127 are left to the name servers. */
static bool is_label(const char *label, size_t len) {
    if (len == 0 || len > LABEL_MAX_LEN)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)label[i] <= ' ' || label[i] == 127 || strchr(":/[]%@", label[i]) != NULL)
            return false;
    return true;
}

/* Of what ends in a number the C library would make an IPv4 address that nobody meant ("1" is 0.0.0.1). */
static bool is_number(const char *label, size_t len) {
    return strspn(label, "0123456789") >= len;
}

int32_t np_host_check(const char *host) {
    size_t len = strnlen(host, NAME_MAX_LEN + 2);
    if (len > 0 && host[len - 1] == '.')
        len--;
    if (len == 0 || len > NAME_MAX_LEN)
        return NEAP_ENAME_BAD;
    const char *end = host + len, *label = host;
    for (;;) {
        const char *dot = memchr(label, '.', (size_t)(end - label));
        size_t n = (size_t)((dot != NULL ? dot : end) - label);
        if (!is_label(label, n))
            return NEAP_ENAME_BAD;
        if (dot == NULL)
            return is_number(label, n) ? NEAP_ENAME_BAD : 0;
        label = dot + 1;
    }
}

bool np_host_is_localhost(const char *host) {
    static const char name[] = "localhost";
    size_t len = strlen(host), n = sizeof name - 1;
    if (len > 0 && host[len - 1] == '.')
        len--;
    if (len < n || strncasecmp(host + len - n, name, n) != 0)
        return false;
    return len == n || host[len - n - 1] == '.';
}

bool np_host_literal(const char *host, neap_addr *ret_addr) {
    char text[NP_HOST_MAX + 8];
    size_t len = strnlen(host, NP_HOST_MAX);
    if (len >= NP_HOST_MAX || strchr(host, '/') != NULL)
        return false;
    bool open = strchr(host, ':') != NULL && host[0] != '[';
    snprintf(text, sizeof text, open ? "[%s]:0" : "%s:0", host);
    return neap_addr_parse(text, ret_addr) == 0 && ret_addr->family != NEAP_AF_UNIX;
}

int32_t np_service_port(const char *service, uint16_t *ret_port) {
    *ret_port = 0;
    if (service == NULL || *service == '\0')
        return 0;
    size_t len = strnlen(service, NP_SERVICE_MAX);
    if (len >= NP_SERVICE_MAX)
        return NEAP_EVALUE;
    if (!is_number(service, len))
        return 1;
    unsigned long port = len > 5 ? PORT_MAX + 1ul : strtoul(service, NULL, 10);
    *ret_port = (uint16_t)port;
    return port > PORT_MAX ? NEAP_EVALUE : 0;
}

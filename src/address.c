/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_http.h"

#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

typedef struct v4_block {
    unsigned char net[4];
    int bits;
} v4_block;

typedef struct v6_block {
    unsigned char net[16];
    int bits;
} v6_block;

/* IANA's special-purpose registry, multicast and what is reserved; deprecated relays too, since nobody serves there. */
static const v4_block v4_not_public[] = {
    { { 0 }, 8 },               { { 10 }, 8 },              { { 100, 64 }, 10 },        { { 127 }, 8 },
    { { 169, 254 }, 16 },       { { 172, 16 }, 12 },        { { 192, 0, 0 }, 24 },      { { 192, 0, 2 }, 24 },
    { { 192, 88, 99 }, 24 },    { { 192, 168 }, 16 },       { { 198, 18 }, 15 },        { { 198, 51, 100 }, 24 },
    { { 203, 0, 113 }, 24 },    { { 224 }, 4 },             { { 240 }, 4 }
};

/* Inside 2000::/3, which alone is handed out as public: protocol assignments (Teredo, ORCHID), documentation. */
static const v6_block v6_not_public[] = {
    { { 0x20, 0x01 }, 23 },     { { 0x20, 0x01, 0x0d, 0xb8 }, 32 },     { { 0x3f, 0xff }, 20 }
};

static const unsigned char v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

static int is_within(const unsigned char *address, const unsigned char *net, int bits)
{
    int whole = bits / 8, rest = bits % 8;
    unsigned char mask = (unsigned char)(0xff << (8 - rest));

    if (memcmp(address, net, (size_t)whole) != 0) {
        return 0;
    }
    return rest == 0 || (address[whole] & mask) == (net[whole] & mask);
}

static int v4_is_public(const unsigned char *address)
{
    size_t i;

    for (i = 0; i < sizeof(v4_not_public) / sizeof(v4_not_public[0]); i++) {
        if (is_within(address, v4_not_public[i].net, v4_not_public[i].bits)) {
            return 0;
        }
    }
    return 1;
}

static int v6_is_public(const unsigned char *address)
{
    size_t i;

    if (memcmp(address, v4_mapped, sizeof(v4_mapped)) == 0 || memcmp(address, nat64, sizeof(nat64)) == 0) {
        return v4_is_public(address + 12);
    }
    if (address[0] == 0x20 && address[1] == 0x02) {
        return v4_is_public(address + 2);    /* 6to4: the packet goes to the IPv4 address in it */
    }
    if ((address[0] & 0xe0) != 0x20) {
        return 0;
    }
    for (i = 0; i < sizeof(v6_not_public) / sizeof(v6_not_public[0]); i++) {
        if (is_within(address, v6_not_public[i].net, v6_not_public[i].bits)) {
            return 0;
        }
    }
    return 1;
}

int vapi_http_address_is_public(const void *addr)
{
    const struct sockaddr *any = addr;

    if (any->sa_family == AF_INET) {
        return v4_is_public((const unsigned char *)&((const struct sockaddr_in *)addr)->sin_addr);
    }
    if (any->sa_family == AF_INET6) {
        return v6_is_public(((const struct sockaddr_in6 *)addr)->sin6_addr.s6_addr);
    }
    return 0;
}

/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_version.h
 * @brief The module's version, as the User-Agent, the console and the start-up line say it.
 */
#ifndef VAPI_VERSION_H
#define VAPI_VERSION_H

#define VAPI_VERSION "0.1.0"

#endif

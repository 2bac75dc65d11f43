/* SPDX-License-Identifier: GPL-2.0 */
/* The tests of this program, each in a file of its name. */
#ifndef STRESS_H
#define STRESS_H

int calls(int argc, char **argv);
int races(int argc, char **argv);
int lifetime(int argc, char **argv);
int who(int argc, char **argv);
int faults(int argc, char **argv);

#endif

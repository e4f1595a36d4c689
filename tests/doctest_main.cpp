// The main function of every doctest executable: tests/<directory>/*_test.cpp are linked with it.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

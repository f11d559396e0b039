# SPDX-License-Identifier: LGPL-2.1-or-later

unit_hypercall_SOURCES += \
	tests/unit/hypercall_backend_test.cc \
	tests/unit/hypercall_conf_test.cc \
	tests/unit/hypercall_counted_test.cc \
	tests/unit/hypercall_device_lock_test.cc \
	tests/unit/hypercall_msi_message_test.cc \
	tests/unit/hypercall_statistics_test.cc \
	tests/unit/hypercall_vocabulary_test.cc

# Modules for the registry's tests: one hypervisor, entries in variants.  -rpath
# makes libtool link a shared object although nothing is installed.
check_LTLIBRARIES += tests/unit/modules/libtestmodule.la
tests_unit_modules_libtestmodule_la_SOURCES = tests/unit/modules/module.cc tests/unit/modules/module.h
tests_unit_modules_libtestmodule_la_CXXFLAGS = $(COLD_CXXFLAGS)
TEST_MODULE_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

check_LTLIBRARIES += tests/unit/modules/pviommu-testgood.la
tests_unit_modules_pviommu_testgood_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testgood_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testgood"'
tests_unit_modules_pviommu_testgood_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testgood_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testgood_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testlarger.la
tests_unit_modules_pviommu_testlarger_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testlarger_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testlarger"' '-DMODULE_SIZE=sizeof(pviommu_module)+64'
tests_unit_modules_pviommu_testlarger_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testlarger_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testlarger_la_LIBADD = tests/unit/modules/libtestmodule.la

# As built with the header of 0.1: what stands behind `size` is not ours to read.
check_LTLIBRARIES += tests/unit/modules/pviommu-testsmaller.la
tests_unit_modules_pviommu_testsmaller_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testsmaller_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testsmaller"' -DMODULE_SIZE=PVIOMMU_MODULE_MIN_SIZE
tests_unit_modules_pviommu_testsmaller_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testsmaller_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testsmaller_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testnosymbol.la
tests_unit_modules_pviommu_testnosymbol_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testnosymbol_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testnosymbol"' '-DMODULE_SYMBOL=other_entry'
tests_unit_modules_pviommu_testnosymbol_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testnosymbol_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testnosymbol_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testundefined.la
tests_unit_modules_pviommu_testundefined_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testundefined_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testundefined"' '-DMODULE_NEEDS_UNDEFINED'
tests_unit_modules_pviommu_testundefined_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testundefined_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testundefined_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testversion.la
tests_unit_modules_pviommu_testversion_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testversion_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testversion"' '-DMODULE_API_VERSION=99'
tests_unit_modules_pviommu_testversion_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testversion_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testversion_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testversion1.la
tests_unit_modules_pviommu_testversion1_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testversion1_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testversion1"' '-DMODULE_API_VERSION=1'
tests_unit_modules_pviommu_testversion1_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testversion1_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testversion1_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testtruncated.la
tests_unit_modules_pviommu_testtruncated_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testtruncated_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testtruncated"' '-DMODULE_SIZE=16'
tests_unit_modules_pviommu_testtruncated_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testtruncated_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testtruncated_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testzero.la
tests_unit_modules_pviommu_testzero_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testzero_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testzero"' '-DMODULE_SIZE=0'
tests_unit_modules_pviommu_testzero_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testzero_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testzero_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testname.la
tests_unit_modules_pviommu_testname_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testname_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"somethingelse"'
tests_unit_modules_pviommu_testname_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testname_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testname_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testkind.la
tests_unit_modules_pviommu_testkind_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testkind_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testkind"' '-DMODULE_KIND=77'
tests_unit_modules_pviommu_testkind_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testkind_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testkind_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testdriver.la
tests_unit_modules_pviommu_testdriver_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testdriver_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testdriver"' '-DMODULE_KIND=PVIOMMU_MODULE_IOMMU_DRIVER'
tests_unit_modules_pviommu_testdriver_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testdriver_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testdriver_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testpath.la
tests_unit_modules_pviommu_testpath_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testpath_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testpath"'
tests_unit_modules_pviommu_testpath_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testpath_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testpath_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testsecond.la
tests_unit_modules_pviommu_testsecond_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testsecond_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testsecond"'
tests_unit_modules_pviommu_testsecond_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testsecond_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testsecond_la_LIBADD = tests/unit/modules/libtestmodule.la

check_LTLIBRARIES += tests/unit/modules/pviommu-testbuiltin.la
tests_unit_modules_pviommu_testbuiltin_la_SOURCES = tests/unit/modules/entry.cc
tests_unit_modules_pviommu_testbuiltin_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"testbuiltin"'
tests_unit_modules_pviommu_testbuiltin_la_CXXFLAGS = $(COLD_CXXFLAGS)
tests_unit_modules_pviommu_testbuiltin_la_LDFLAGS = $(TEST_MODULE_LDFLAGS)
tests_unit_modules_pviommu_testbuiltin_la_LIBADD = tests/unit/modules/libtestmodule.la

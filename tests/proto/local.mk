# black-box tests
